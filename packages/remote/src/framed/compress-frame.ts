import type { FrameCodec } from './framed-index.js'
import { loadZstd } from './zstd.js'
import { zstdFrameFault } from './zstd-frame.js'

/** A frame that is not at least this much smaller is stored raw: then no reader has to decompress it. */
const leastGain = 1 / 16

export interface CompressedFrame {
  readonly codec: FrameCodec
  readonly bytes: Buffer
}

/** Compresses a frame in another thread; raw if that does not pay. */
export async function compressFrame(raw: Buffer, codec: FrameCodec, level: number): Promise<CompressedFrame> {
  const bytes = await compressors[codec](raw, level)
  return bytes.length <= raw.length * (1 - leastGain) ? { codec, bytes } : { codec: 'none', bytes: raw }
}

const compressors: Readonly<Record<FrameCodec, (raw: Buffer, level: number) => Promise<Buffer>>> = {
  none: async (raw) => raw,
  lz4: async (raw) => (await (await import('lz4-napi')).compress(raw)).subarray(lengthBytes),
  zstd: async (raw, level) => (await loadZstd()).compress(raw, level),
}

/** lz4-napi puts the raw length before a block, and allocates what it says there. */
const lengthBytes = 4

/**
 * The raw bytes of a frame, decompressed in another thread. Throws any error if these are not `rawBytes`
 * bytes; never takes more than 16 MiB and a window of 8 MiB to find out.
 */
export async function decompressFrame({ codec, bytes }: CompressedFrame, rawBytes: number): Promise<Buffer> {
  const raw = await decompressors[codec](bytes, rawBytes)
  if (raw.length !== rawBytes) throw new Error(`it gives ${raw.length} bytes`)
  return raw
}

const decompressors: Readonly<Record<FrameCodec, (bytes: Buffer, rawBytes: number) => Promise<Buffer>>> = {
  none: async (bytes) => bytes,
  lz4: async (bytes, rawBytes) => {
    const block = Buffer.allocUnsafe(lengthBytes + bytes.length)
    block.writeUInt32LE(rawBytes)
    bytes.copy(block, lengthBytes)
    return (await import('lz4-napi')).uncompress(block)
  },
  zstd: async (bytes, rawBytes) => {
    const fault = zstdFrameFault(bytes, rawBytes)
    if (fault !== undefined) throw new Error(fault)
    return (await loadZstd()).decompress(bytes, rawBytes)
  },
}
