import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { notFound } from '../not-found.js'
import type {
  BlobContent,
  BlobSource,
  BlobStat,
  BlobToPut,
  ByteRange,
  OpenBlob,
  SourceOptions,
} from './blob-source.js'
import { checkedContent } from './checked-content.js'
import { assertRange } from './checked-range.js'
import type { Digest } from './descriptors.js'

/** Blobs in this process's memory: for tests of what stands on a BlobSource. */
export class MemoryBlobs implements BlobSource {
  readonly location = 'memory'
  readonly #blobs = new Map<Digest, Uint8Array>()

  async stat(digest: Digest, { signal }: SourceOptions = {}): Promise<BlobStat | undefined> {
    throwIfAborted(signal, digest)
    const found = this.#blobs.get(digest)
    return found && { sizeBytes: found.length }
  }

  async open(digest: Digest, { signal }: SourceOptions = {}): Promise<OpenBlob> {
    throwIfAborted(signal, digest)
    const bytes = this.#blobs.get(digest)
    if (bytes === undefined) throw notFound('blob', `no blob ${digest} in ${this.location}`)
    return {
      sizeBytes: bytes.length,
      read: async (range: ByteRange, options: SourceOptions = {}) => {
        throwIfAborted(options.signal, digest)
        assertRange(range, bytes.length, digest)
        return bytes.slice(range.offsetBytes, range.offsetBytes + range.lengthBytes)
      },
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async put(blob: BlobToPut, content: BlobContent, options: SourceOptions = {}): Promise<void> {
    throwIfAborted(options.signal, blob.digest)
    if (this.#blobs.has(blob.digest)) return
    const pieces: Uint8Array[] = []
    for await (const piece of checkedContent(blob, content, options)) pieces.push(piece.slice())
    this.#blobs.set(blob.digest, Buffer.concat(pieces))
  }

  async *list({ signal }: SourceOptions = {}): AsyncGenerator<Digest> {
    for (const digest of [...this.#blobs.keys()]) {
      throwIfAborted(signal, this.location)
      yield digest
    }
  }

  async remove(digest: Digest, { signal }: SourceOptions = {}): Promise<boolean> {
    throwIfAborted(signal, digest)
    return this.#blobs.delete(digest)
  }
}
