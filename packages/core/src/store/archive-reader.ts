import type { FileHandle } from 'node:fs/promises'
import type { Digest } from '../content/descriptors.js'
import { digestOf } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { createFile, truncate, writeAt } from '../sys/mutations.js'
import { openRegular } from '../sys/open-regular.js'
import { indexFromJson, maxIndexBytes, type ReferenceIndex } from './reference-index.js'
import { paddingOf, readHeader, readSparseMap, type TarEntry } from './tar-format.js'

const chunkBytes = 2 * 1024 * 1024
/** Far more than any real archive has. */
const maxEntries = 1_000_000

/** A blob as the archive has it, not read yet. */
export interface ArchivedBlob {
  readonly entry: TarEntry
  /** Offset of its data in the archive. */
  readonly offset: number
}

interface ArchiveContent {
  readonly index: ReferenceIndex
  readonly blobs: ReadonlyMap<Digest, ArchivedBlob>
}

/**
 * An archive of an OCI layout. Its headers are read first, so that every size can be judged before a byte of
 * data is written.
 */
export class ArchiveReader implements AsyncDisposable {
  readonly path: string
  readonly sizeBytes: number
  readonly #handle: FileHandle
  #offset = 0

  private constructor(path: string, handle: FileHandle, sizeBytes: number) {
    this.path = path
    this.#handle = handle
    this.sizeBytes = sizeBytes
  }

  static async open(path: string): Promise<ArchiveReader> {
    const { handle, stat } = await openRegular(path, { what: 'archive', followLinks: true })
    return new ArchiveReader(path, handle, stat.size)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close()
  }

  /** Reads the index and lists the blobs; refuses names that an OCI layout does not have. */
  async content(signal: AbortSignal | undefined): Promise<ArchiveContent> {
    const blobs = new Map<Digest, ArchivedBlob>()
    let index: ReferenceIndex | undefined
    for (let count = 0; ; count++) {
      throwIfAborted(signal, this.path)
      const at = this.#offset
      const fail = (detail: string) => this.#invalid(`archive ${this.path}, byte ${at}: ${detail}`, at)
      if (count > maxEntries) throw fail(`more than ${maxEntries} entries`)
      const header = await readHeader((length) => this.#read(length), this.path, at)
      if (header === undefined) break
      const { entry } = header
      const name = entry.name.replace(/^\.\//, '')
      const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1]
      if (entry.kind === 'directory') {
        if (!/^(|blobs\/?|blobs\/sha256\/?)$/.test(name)) throw fail(`directory ${JSON.stringify(name)}`)
      } else if (hex !== undefined) {
        const digest = digestOf(hex)
        if (blobs.has(digest)) throw fail(`${name} comes twice`)
        blobs.set(digest, { entry, offset: this.#offset })
        this.#skip(entry.storedBytes)
      } else if (name === 'index.json' || name === 'oci-layout') {
        if (entry.isSparse || entry.sizeBytes > maxIndexBytes)
          throw fail(`${name} of ${entry.sizeBytes} bytes`)
        const start = this.#offset
        this.#skip(entry.storedBytes)
        if (name === 'index.json')
          index = indexFromJson(
            await this.#readAt(start, Buffer.allocUnsafe(entry.sizeBytes)),
            `${this.path}:index.json`,
          )
      } else throw fail(`an entry named ${JSON.stringify(name.slice(0, 100))}`)
    }
    if (index !== undefined) return { index, blobs }
    throw this.#invalid(`archive ${this.path} has no index.json`, 0)
  }

  /** Writes a blob into a new file, its holes as holes. */
  async unpack(
    { entry, offset }: ArchivedBlob,
    target: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    this.#offset = offset
    const { extents } = entry.isSparse
      ? await readSparseMap((length) => this.#read(length), entry, this.path)
      : { extents: [{ startBytes: 0, endBytes: entry.sizeBytes }] }
    await using file = await createFile(target)
    truncate(file, entry.sizeBytes)
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(1, entry.storedBytes)))
    for (const { startBytes, endBytes } of extents)
      for (let at = startBytes; at < endBytes; ) {
        throwIfAborted(signal, this.path)
        const part = buffer.subarray(0, Math.min(buffer.length, endBytes - at))
        await this.#readAt(this.#offset, part)
        this.#offset += part.length
        writeAt(file, part, at)
        at += part.length
      }
  }

  /** The next bytes; fewer if the archive ends. */
  async #read(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(Math.min(length, this.sizeBytes - this.#offset))
    await this.#readAt(this.#offset, bytes)
    this.#offset += bytes.length
    return bytes
  }

  async #readAt(offset: number, bytes: Buffer): Promise<Buffer> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await this.#handle.read(bytes, done, bytes.length - done, offset + done)
      if (bytesRead === 0) throw this.#cutOff()
      done += bytesRead
    }
    return bytes
  }

  #skip(storedBytes: number): void {
    this.#offset += storedBytes + paddingOf(storedBytes).length
    if (this.#offset > this.sizeBytes) throw this.#cutOff()
  }

  #cutOff(): VarveError {
    return this.#invalid(
      `archive ${this.path} ends at byte ${this.sizeBytes}, within an entry`,
      this.sizeBytes,
    )
  }

  #invalid(message: string, offset: number): VarveError {
    return new VarveError('FORMAT_INVALID', message, { details: { path: this.path, offset } })
  }
}
