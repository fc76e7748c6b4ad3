import * as zlib from 'node:zlib'

/** Both work in libuv's threads. `decompress` may give any number of bytes up to 16 MiB. */
export interface Zstd {
  compress(bytes: Buffer, level: number): Promise<Buffer>
  /** `rawBytes`: more than that is not wanted. */
  decompress(bytes: Buffer, rawBytes: number): Promise<Buffer>
}

type Done = (error: Error | null, result: Buffer) => void

/** Node has these from 22.15 on. */
interface NodeZstd {
  readonly zstdCompress?: (bytes: Buffer, options: { params: Record<number, number> }, done: Done) => void
  readonly zstdDecompress?: (bytes: Buffer, options: { maxOutputLength: number }, done: Done) => void
}

let chosen: Promise<Zstd> | undefined

/** Node's own zstd; that of a package if this Node has none. */
export function loadZstd(): Promise<Zstd> {
  chosen ??= nodeZstd() ?? packagedZstd()
  return chosen
}

/** Undefined if this Node has no zstd. */
export function nodeZstd(): Promise<Zstd> | undefined {
  const { zstdCompress, zstdDecompress } = zlib as NodeZstd
  if (zstdCompress === undefined || zstdDecompress === undefined) return undefined
  const { ZSTD_c_compressionLevel: levelKey } = zlib.constants as unknown as Record<string, number>
  const promised = (start: (done: Done) => void) =>
    new Promise<Buffer>((resolve, reject) =>
      start((error, result) => (error === null ? resolve(result) : reject(error))),
    )
  return Promise.resolve({
    compress: (bytes, level) =>
      promised((done) => zstdCompress(bytes, { params: { [levelKey as number]: level } }, done)),
    decompress: (bytes, rawBytes) =>
      promised((done) => zstdDecompress(bytes, { maxOutputLength: rawBytes }, done)),
  })
}

export async function packagedZstd(): Promise<Zstd> {
  const { Decoder, Encoder } = await import('@toondepauw/node-zstd')
  const decoder = new Decoder()
  return {
    compress: (bytes, level) => new Encoder(level).encode(bytes),
    decompress: (bytes) => decoder.decode(bytes),
  }
}
