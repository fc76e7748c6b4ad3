import { spawn } from 'node:child_process'
import { createHash, type Hash } from 'node:crypto'
import { Duplex, PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { type Digest, VarveError } from 'varve'
import { abortError, hexOf, openRegular } from 'varve/testing'
import { type ApplyOptions, applyLayer } from './apply-layer.js'
import { wrongDigest } from './image-files.js'
import type { ImageLayer } from './opened-image.js'

const chunkBytes = 1024 * 1024

/**
 * Puts a layer over the tree. What compresses it is told by its first bytes. CHECKSUM_MISMATCH if the file or
 * the archive in it is not what the image says.
 */
export async function unpackLayer(layer: ImageLayer, options: ApplyOptions): Promise<void> {
  const { signal, budget } = options
  await using file = await openRegular(layer.path, { what: 'layer', followLinks: true })
  const magic = Buffer.alloc(4)
  await file.handle.read(magic, 0, magic.length, 0)
  const packed = createHash('sha256')
  const unpacked = createHash('sha256')
  const stage = decompressor(magic)
  const chunks = file.handle.createReadStream({ start: 0, highWaterMark: chunkBytes, autoClose: false })
  try {
    await pipeline(
      chunks,
      (source: AsyncIterable<Buffer>) => hashed(source, packed),
      stage.stream,
      async (source: AsyncIterable<Buffer | string>) =>
        applyLayer(
          hashed(source as AsyncIterable<Buffer>, unpacked, (bytes) => budget.spendBytes(bytes)),
          options,
        ),
      { signal },
    )
    await stage.ended
  } catch (error) {
    if (signal?.aborted) throw abortError(signal, 'reading an image')
    if (error instanceof VarveError) throw error
    throw new VarveError('FORMAT_INVALID', `layer ${layer.name}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  check(layer.digest, packed, `the file of layer ${layer.name}`)
  check(layer.diffId, unpacked, `layer ${layer.name}, unpacked,`)
}

async function* hashed(
  source: AsyncIterable<Buffer>,
  hash: Hash,
  onBytes: (bytes: number) => void = () => {},
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    onBytes(chunk.length)
    hash.update(chunk)
    yield chunk
  }
}

function check(expected: Digest | null, hash: Hash, what: string): void {
  const found = hash.digest('hex')
  if (expected !== null && hexOf(expected) !== found) throw wrongDigest(what, found)
}

interface Stage {
  readonly stream: NodeJS.ReadWriteStream
  /** Rejects if what decompresses has failed. */
  readonly ended?: Promise<void>
}

function decompressor(magic: Buffer): Stage {
  if (magic.toString('hex', 0, 2) === '1f8b') return { stream: createGunzip({ chunkSize: chunkBytes }) }
  if (magic.toString('hex') === '28b52ffd') return byZstd()
  return { stream: new PassThrough() }
}

/** Node decompresses zstd from version 22.15 on. */
function byZstd(): Stage {
  const child = spawn('zstd', ['-d', '-c', '-q'], { stdio: ['pipe', 'pipe', 'pipe'] })
  let words = ''
  child.stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString('utf8')).slice(-1000)
  })
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', (cause) =>
      reject(
        new VarveError(
          'HOST_UNSUPPORTED',
          `a layer is compressed by zstd, which cannot be run: ${cause.message}`,
          {
            cause,
            remedy: 'apt-get install zstd',
          },
        ),
      ),
    )
    child.on('close', (code, by) =>
      code === 0
        ? resolve()
        : reject(new VarveError('FORMAT_INVALID', `zstd: ${words.trim() || `ended by ${code ?? by}`}`)),
    )
  })
  ended.catch(() => {})
  const stream = Duplex.from({ writable: child.stdin, readable: child.stdout })
  stream.on('close', () => {
    if (!stream.readableEnded) child.kill('SIGKILL')
    // A pipe with bytes that nothing reads stays open otherwise.
    child.stdin.destroy()
    child.stdout.destroy()
  })
  return { stream, ended }
}
