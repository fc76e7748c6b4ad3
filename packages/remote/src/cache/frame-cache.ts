import { randomBytes } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { readdir, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, isVarveError, VarveError } from 'varve'
import {
  assertOwnDirectory,
  createFile,
  type FileLock,
  hashBytes,
  hexOf,
  makeDirectory,
  openForWriting,
  readSmallFile,
  removeDirectory,
  renameFile,
  syncDirectory,
  syncFile,
  truncate,
  tryLock,
  writeAt,
} from 'varve/testing'
import { type FramedIndex, frameEntry, framesOf, layerBytesOf } from '../framed/framed-index.js'
import {
  framedIndexFromBytes,
  framedIndexToBytes,
  maxIndexBytes,
  readFramedTrailer,
  trailerBytes,
} from '../framed/framed-index-bytes.js'
import { Turns } from '../place/turns.js'
import { CachedBlob } from './cached-blob.js'
import { emptyMarks, readMarks } from './frame-marks.js'
import { claimBlob, pinBlob } from './pin-blob.js'

/** Options of `openFrameCache`. */
export interface FrameCacheOptions {
  /** Bytes on disk above which blobs that no one has pinned are given back. Default: no limit. */
  readonly limitBytes?: number | undefined
}

/** What a cache takes. */
export interface CacheUsage {
  /** Bytes on disk. */
  readonly bytes: number
  /** How many blobs. */
  readonly blobs: number
}

/** Down to this part of the limit. */
const watermark = 0.9
/** Sizes are looked at again after so much was written. */
const lookAgainBytes = 64 * 2 ** 20
/** A later version may need more. */
const maxMarksBytes = 2 ** 25
const files = ['layer', 'index', 'frames', 'pin'] as const

/**
 * Opens a frame cache for writing (docs/formats/frame-cache-v1.md): its directory is made if it is missing.
 * MACHINE_STATE if another process writes to it.
 */
export async function openFrameCache(
  directory: string,
  options: FrameCacheOptions = {},
): Promise<FrameCache> {
  for (const path of [directory, join(directory, 'blobs')]) {
    await makeDirectory(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST' && !isVarveError(error, 'ALREADY_EXISTS')) throw error
    })
    assertOwnDirectory(path)
  }
  const writer = await tryLock(join(directory, 'writer'))
  if (writer === undefined)
    throw new VarveError('MACHINE_STATE', `another process writes to the frame cache ${directory}`, {
      remedy: 'choose another directory, or end that process',
    })
  const cache = new FrameCache(directory, writer, options)
  for (const name of await readdir(directory))
    if (/^\.(new|gone)-[0-9a-f]+$/.test(name)) await removeDirectory(join(directory, name))
  return cache
}

/** A frame cache that this process writes to. */
export class FrameCache implements AsyncDisposable {
  /** The cache's directory. */
  readonly directory: string
  readonly #writer: FileLock
  readonly #limitBytes: number
  /** A blob is opened, made or given back, each by itself. */
  readonly #turns = new Turns()
  #sinceLook = 0
  #looking: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(
    directory: string,
    writer: FileLock,
    { limitBytes = Number.POSITIVE_INFINITY }: FrameCacheOptions,
  ) {
    this.directory = directory
    this.#writer = writer
    this.#limitBytes = limitBytes
  }

  /**
   * A framed layer, pinned until it is disposed of. `readIndex` is asked for its index if the cache does not
   * have it, or has a damaged one. What is here needs no network.
   */
  async open(digest: Digest, readIndex: () => Promise<FramedIndex>): Promise<CachedBlob> {
    const path = join(this.directory, 'blobs', hexOf(digest))
    const { blob, isNew } = await this.#turns.take(path, async () => {
      const known = await this.#openKnown(path)
      if (known !== undefined) return { blob: known, isNew: false }
      await this.#make(path, await readIndex())
      const made = await this.#openKnown(path)
      if (made === undefined) throw new VarveError('STORE_DAMAGED', `${path} was made, and is damaged`)
      return { blob: made, isNew: true }
    })
    if (!isNew) return blob
    // Not before the new blob is pinned: it would be given back itself.
    try {
      await this.makeRoom()
      return blob
    } catch (error) {
      await blob[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Undefined if it is not here; what is here and damaged loses its name. */
  async #openKnown(path: string): Promise<CachedBlob | undefined> {
    const pin = await pinBlob(path)
    if (pin === undefined) {
      // This process alone gives blobs back: a directory without a pin is damaged.
      if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) await this.#giveBack(path)
      return undefined
    }
    try {
      const indexFile = join(path, 'index')
      const { index, sha256 } = indexOf(readSmallFile(indexFile, maxIndexBytes), indexFile)
      const marksFile = join(path, 'frames')
      const here = readMarks(readSmallFile(marksFile, maxMarksBytes), index, sha256, marksFile)
      const layer = await openForWriting(join(path, 'layer'))
      if ((await layer.handle.stat()).size !== layerBytesOf(index)) {
        await layer[Symbol.asyncDispose]()
        throw new VarveError('FORMAT_INVALID', `${layer.path} does not have ${layerBytesOf(index)} bytes`)
      }
      const marks = await openForWriting(marksFile)
      await utimes(indexFile, new Date(), new Date())
      return new CachedBlob({ index, layer, marks, here, pin, onWritten: (bytes) => this.#wrote(bytes) })
    } catch (error) {
      await pin[Symbol.asyncDispose]()
      if (!isDamage(error)) throw error
      await this.#giveBack(path)
      return undefined
    }
  }

  async #make(path: string, index: FramedIndex): Promise<void> {
    const made = join(this.directory, `.new-${randomBytes(8).toString('hex')}`)
    await makeDirectory(made)
    const bytes = framedIndexToBytes(index)
    const write = async (name: (typeof files)[number], content: Buffer, sizeBytes = content.length) => {
      await using file = await createFile(join(made, name))
      truncate(file, sizeBytes)
      if (content.length > 0) writeAt(file, content, 0)
      await syncFile(file)
    }
    await write('index', bytes)
    await write('layer', Buffer.alloc(0), layerBytesOf(index))
    await write('frames', emptyMarks(index, sha256Of(bytes)))
    await write('pin', Buffer.alloc(0))
    await syncDirectory(made)
    await renameFile(made, path)
    await syncDirectory(join(this.directory, 'blobs'))
  }

  /** What the cache takes now. */
  async usage(): Promise<CacheUsage> {
    const all = await this.#blobs()
    return { bytes: all.reduce((sum, { bytes }) => sum + bytes, 0), blobs: all.length }
  }

  /** Gives back what was pinned longest ago, if the cache is above its limit. Gives how many blobs went. */
  async makeRoom(): Promise<number> {
    const all = (await this.#blobs()).sort((a, b) => a.pinnedMs - b.pinnedMs)
    let bytes = all.reduce((sum, blob) => sum + blob.bytes, 0)
    if (bytes <= this.#limitBytes) return 0
    let gone = 0
    for (const blob of all) {
      if (bytes <= this.#limitBytes * watermark) break
      const went = await this.#turns.take(blob.path, async () => {
        const claim = await claimBlob(blob.path)
        if (claim === undefined) return false
        await using _claim = claim
        await this.#giveBack(blob.path)
        return true
      })
      if (!went) continue
      bytes -= blob.bytes
      gone++
    }
    return gone
  }

  #wrote(bytes: number): void {
    this.#sinceLook += bytes
    if (this.#sinceLook < lookAgainBytes || this.#looking !== undefined) return
    this.#sinceLook = 0
    this.#looking = this.makeRoom().then(
      () => {
        this.#looking = undefined
      },
      (error: unknown) => {
        this.#failure = { error }
        this.#looking = undefined
      },
    )
  }

  async #giveBack(path: string): Promise<void> {
    const gone = join(this.directory, `.gone-${randomBytes(8).toString('hex')}`)
    await renameFile(path, gone)
    await removeDirectory(gone)
  }

  async #blobs(): Promise<{ path: string; bytes: number; pinnedMs: number }[]> {
    const names = await readdir(join(this.directory, 'blobs'))
    return names
      .filter((name) => /^[0-9a-f]{64}$/.test(name))
      .map((name) => {
        const path = join(this.directory, 'blobs', name)
        const stat = (file: string) => lstatSync(join(path, file), { throwIfNoEntry: false })
        const bytes = files.reduce((sum, file) => sum + (stat(file)?.blocks ?? 0) * 512, 0)
        return { path, bytes, pinnedMs: stat('index')?.mtimeMs ?? 0 }
      })
  }

  /**
   * Lets another process write. Blobs that are open must be disposed of before. Throws if blobs could not be
   * given back while frames were written.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#looking
    await this.#writer[Symbol.asyncDispose]()
    if (this.#failure !== undefined) throw this.#failure.error
  }
}

const sha256Of = (bytes: Buffer): Buffer => Buffer.from(hexOf(hashBytes(bytes)), 'hex')

/** Of an index without the frames before it: these are as long as the index says. */
function indexOf(bytes: Buffer, path: string): { readonly index: FramedIndex; readonly sha256: Buffer } {
  if (bytes.length < trailerBytes) throw new VarveError('FORMAT_INVALID', `${path} has ${bytes.length} bytes`)
  const trailer = readFramedTrailer(bytes.subarray(-trailerBytes), bytes.length, path)
  if (trailer.indexBytes !== bytes.length)
    throw new VarveError('FORMAT_INVALID', `${path} has ${bytes.length} bytes, not ${trailer.indexBytes}`)
  let framesBytes = 0
  for (let frame = 0; frame < framesOf(trailer); frame++)
    framesBytes += frameEntry({ table: bytes }, frame).storedBytes
  return {
    index: framedIndexFromBytes(bytes, trailer, framesBytes + bytes.length, path),
    sha256: sha256Of(bytes),
  }
}

/** A later version is no damage: it is not thrown away. */
const isDamage = (error: unknown): boolean =>
  isVarveError(error, 'FORMAT_INVALID') ||
  isVarveError(error, 'CHECKSUM_MISMATCH') ||
  isVarveError(error, 'NOT_FOUND') ||
  (error as NodeJS.ErrnoException).code === 'ENOENT'
