import { join } from 'node:path'
import type {
  BlobContent,
  BlobSource,
  BlobStat,
  BlobToPut,
  ByteRange,
  OpenBlob,
  SourceOptions,
} from '../content/blob-source.js'
import { checkedContent } from '../content/checked-content.js'
import { assertRange } from '../content/checked-range.js'
import { type Digest, hexOf } from '../content/descriptors.js'
import { readAt } from '../layer/memory-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { createFile, removeFile, syncDirectory, syncFile, writeAt } from '../sys/mutations.js'
import { openRegular } from '../sys/open-regular.js'
import type { Repository } from './repository.js'

/** The blobs of a store in a directory. */
export class LocalBlobs implements BlobSource {
  readonly #repository: Repository

  constructor(repository: Repository) {
    this.#repository = repository
  }

  get location(): string {
    return this.#repository.location
  }

  async stat(digest: Digest, { signal }: SourceOptions = {}): Promise<BlobStat | undefined> {
    throwIfAborted(signal, digest)
    const found = await this.#repository.blobs.stat(digest)
    return found?.isFile() ? { sizeBytes: Number(found.size) } : undefined
  }

  async open(digest: Digest, { signal }: SourceOptions = {}): Promise<OpenBlob> {
    throwIfAborted(signal, digest)
    const path = this.#repository.blobs.path(digest)
    const { handle, stat } = await openRegular(path, { what: 'blob' })
    const sizeBytes = stat.size
    return {
      sizeBytes,
      read: async (range: ByteRange, options: SourceOptions = {}) => {
        throwIfAborted(options.signal, digest)
        assertRange(range, sizeBytes, path)
        const bytes = Buffer.allocUnsafe(range.lengthBytes)
        await readAt(handle, path, bytes, range.offsetBytes)
        return bytes
      },
      [Symbol.asyncDispose]: () => handle.close(),
    }
  }

  async put(blob: BlobToPut, content: BlobContent, options: SourceOptions = {}): Promise<void> {
    const { digest } = blob
    if ((await this.stat(digest, options))?.sizeBytes === blob.sizeBytes) return
    await using staging = await this.#repository.stage()
    const path = join(staging.directory, 'blob')
    {
      await using file = await createFile(path)
      let offset = 0
      for await (const piece of checkedContent(blob, content, options)) {
        writeAt(file, piece, offset)
        offset += piece.length
      }
      await syncFile(file)
    }
    await this.#repository.locked(async () => {
      await this.#repository.blobs.publish(path, digest)
      await syncDirectory(this.#repository.paths.blobs)
    }, options)
  }

  async *list({ signal }: SourceOptions = {}): AsyncGenerator<Digest> {
    for (const digest of await this.#repository.blobs.list()) {
      throwIfAborted(signal, hexOf(digest))
      yield digest
    }
  }

  remove(digest: Digest, options: SourceOptions = {}): Promise<boolean> {
    return this.#repository.locked(async () => {
      const { blobs, paths } = this.#repository
      if ((await blobs.stat(digest)) === undefined) return false
      await removeFile(blobs.path(digest))
      await blobs.forget(digest)
      await syncDirectory(paths.blobs)
      return true
    }, options)
  }
}
