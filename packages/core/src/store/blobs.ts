import { type BigIntStats, lstatSync, readFileSync } from 'node:fs'
import { chmod, lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Descriptor, Digest } from '../content/descriptors.js'
import { digestOf, hexOf, maxSmallBytes, mediaTypes } from '../content/descriptors.js'
import { hashBytes, hashFile } from '../content/hash-file.js'
import { VarveError } from '../errors.js'
import { readLayer, verifyLayer } from '../layer/layer-file.js'
import { wholeMib } from '../memory/units.js'
import { notFound } from '../not-found.js'
import { removeDirectory, removeFile, renameFile } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'
import type { WorkOptions } from './snapshot-store.js'
import { blobPath, type StorePaths } from './store-paths.js'
import { replaceCachedFile } from './write-whole.js'

/** Everything under blobs/sha256, with the marks that say which of it was seen right. */
export class Blobs {
  readonly #paths: StorePaths

  constructor(paths: StorePaths) {
    this.#paths = paths
  }

  path(digest: Digest): string {
    return blobPath(this.#paths, digest)
  }

  /** Undefined if there is none. */
  async stat(digest: Digest): Promise<BigIntStats | undefined> {
    return statOrNone(this.path(digest))
  }

  async list(): Promise<Digest[]> {
    const names = await readdir(this.#paths.blobs)
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map(digestOf)
  }

  /**
   * Gives a staged, synced and hashed file its name. To be called under the store's lock, and followed
   * by a sync of the directory. If the blob is there already and known to be right, the staged file
   * stays for its staging to remove.
   */
  async publish(staged: string, digest: Digest): Promise<void> {
    const there = await this.stat(digest)
    if (there !== undefined && this.#isMarked(digest, there)) return
    await chmod(staged, 0o600)
    // rename(2) replaces any other file of that name.
    if (there?.isDirectory()) await removeDirectory(this.path(digest))
    await renameFile(staged, this.path(digest))
    const placed = await this.stat(digest)
    if (placed !== undefined) this.#mark(digest, placed)
  }

  /** A small blob, checked against its digest whatever the marks say. */
  readSmall(digest: Digest, maxBytes: number = maxSmallBytes): Buffer {
    return readChecked(this.path(digest), digest, maxBytes)
  }

  /** The same for a blob that gc has put aside. */
  readAside(digest: Digest): Buffer {
    return readChecked(join(this.#paths.garbage, hexOf(digest)), digest, maxSmallBytes)
  }

  /**
   * That a blob is there, has its size and, unless this was seen before and nothing
   * changed since, the right bytes.
   */
  async assertRight(descriptor: Descriptor, options: WorkOptions = {}): Promise<void> {
    const { digest, size } = descriptor
    const path = this.path(digest)
    // Synchronous, as a restore asks this of every layer: ~20 µs each, where promises cost ~300 µs.
    const found = lstatSync(path, { bigint: true, throwIfNoEntry: false })
    if (found === undefined)
      throw notFound('blob', `blob ${path} is missing`, {
        remedy: 'import the snapshot again; varve fsck lists all that is missing',
        details: { path, digest },
      })
    if (found.size === BigInt(size) && this.#isMarked(digest, found)) return
    await this.verify(descriptor, options)
  }

  /**
   * Reads a blob in full. A wrong one loses its mark, and is CHECKSUM_MISMATCH with
   * the place if that can be told.
   */
  async verify(descriptor: Descriptor, { signal, onProgress }: WorkOptions = {}): Promise<void> {
    const { digest, size } = descriptor
    const path = this.path(digest)
    const before = await this.stat(digest)
    const found = await hashFile(path, {
      signal,
      onProgress: (done, total) =>
        onProgress?.(`checking ${hexOf(digest).slice(0, 12)}, ${wholeMib(done)} of ${wholeMib(total)} MiB`),
    })
    if (found.digest === digest && found.size === size) {
      if (before !== undefined) this.#mark(digest, before)
      return
    }
    await this.forget(digest)
    if (found.size < size)
      throw new VarveError('CHECKSUM_MISMATCH', `${path} ends at byte ${found.size} of ${size}`, {
        remedy: damageRemedy,
        details: { path, offset: found.size },
      })
    if (descriptor.mediaType === mediaTypes.layer) await nameTheChunk(path, signal)
    throw damaged(path, found.size)
  }

  /** Takes away the mark of a blob: the next restore reads it in full. */
  async forget(digest: Digest): Promise<void> {
    await removeFile(this.#markPath(digest))
  }

  /** Whether any process has called `noteAbout` with the same arguments. */
  isNotedAbout(digest: Digest, finding: string): boolean {
    return lstatSync(this.#notePath(digest, finding), { throwIfNoEntry: false }) !== undefined
  }

  /** Remembers a finding about the bytes of a blob, for as long as the blob is there. */
  noteAbout(digest: Digest, finding: string): void {
    replaceCachedFile(this.#notePath(digest, finding), Buffer.alloc(0))
  }

  #notePath(digest: Digest, finding: string): string {
    return `${this.#markPath(digest)}.${hexOf(hashBytes(Buffer.from(finding))).slice(0, 32)}`
  }

  #isMarked(digest: Digest, found: BigIntStats): boolean {
    try {
      return readFileSync(this.#markPath(digest), 'utf8') === markOf(found)
    } catch {
      return false
    }
  }

  #mark(digest: Digest, found: BigIntStats): void {
    replaceCachedFile(this.#markPath(digest), Buffer.from(markOf(found)))
  }

  #markPath(digest: Digest): string {
    return join(this.#paths.verified, hexOf(digest))
  }
}

function readChecked(path: string, digest: Digest, maxBytes: number): Buffer {
  const bytes = readSmallFile(path, maxBytes)
  if (hashBytes(bytes) !== digest) throw damaged(path, bytes.length)
  return bytes
}

const damageRemedy = 'import the snapshot again, or remove it; varve fsck lists all that is damaged'

const markOf = ({ size, mtimeNs, ino }: BigIntStats) => `${size} ${mtimeNs} ${ino}\n`

function damaged(path: string, size: number): VarveError {
  return new VarveError(
    'CHECKSUM_MISMATCH',
    `${path}: somewhere in its bytes 0 to ${size} it is not what its name says`,
    { remedy: damageRemedy, details: { path, offset: 0, lengthBytes: size } },
  )
}

/** Throws what is wrong with a damaged layer, with its place; returns if its own checksums find nothing. */
async function nameTheChunk(path: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await verifyLayer(await readLayer(path, { signal }), { signal })
  } catch (error) {
    if (!(error instanceof VarveError) || signal?.aborted) throw error
    throw new VarveError('CHECKSUM_MISMATCH', error.message, {
      cause: error,
      remedy: damageRemedy,
      details: error.details,
    })
  }
}

/** Undefined if there is no such file. */
export async function statOrNone(path: string): Promise<BigIntStats | undefined> {
  return lstat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}
