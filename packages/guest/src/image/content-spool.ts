import { createHash } from 'node:crypto'
import { closeSync, existsSync, ftruncateSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { refuse } from 'varve/testing'
import type { DataExtent } from './sparse-map.js'

/** A file up to this size is put together in memory, and written only if its content is new. */
const smallBytes = 1024 * 1024

export interface SpooledContent {
  /** Its file in the spool's folder. */
  readonly name: string
  readonly dataBytes: number
}

/**
 * Contents of an image's files, each once, in a folder of the build's own: a file's name there is the
 * SHA-256 of its content, with that of its map for a file with holes. Nothing of the image's names gets
 * here.
 */
export class ContentSpool {
  readonly folder: string
  #parts = 0

  /** An empty folder, 0700, that goes with the build. */
  constructor(folder: string) {
    this.folder = folder
  }

  pathOf(name: string): string {
    return join(this.folder, name)
  }

  async add(
    content: AsyncIterable<Buffer>,
    sizeBytes: number,
    extents: readonly DataExtent[] | null,
  ): Promise<SpooledContent> {
    if (extents === null && sizeBytes <= smallBytes) return this.#addSmall(content)
    const hash = createHash('sha256')
    if (extents !== null) hash.update(`sparse ${sizeBytes} ${JSON.stringify(extents)}\n`)
    const part = this.pathOf(`part-${++this.#parts}`)
    const fd = openSync(part, 'wx', 0o600)
    let dataBytes = 0
    try {
      ftruncateSync(fd, sizeBytes)
      const places = placesOf(extents ?? [{ start: 0, length: sizeBytes }])
      for await (const piece of content) {
        hash.update(piece)
        dataBytes += piece.length
        for (const { bytes, at } of places(piece)) writeWhole(fd, bytes, at)
      }
    } catch (error) {
      refuse('write', part, error)
    } finally {
      closeSync(fd)
    }
    const digest = hash.digest('hex')
    const name = extents === null ? digest : `sparse-${digest}`
    // Over an equal file, if there is one.
    renameSync(part, this.pathOf(name))
    return { name, dataBytes }
  }

  async #addSmall(content: AsyncIterable<Buffer>): Promise<SpooledContent> {
    const pieces: Buffer[] = []
    for await (const piece of content) pieces.push(piece)
    return this.addBytes(Buffer.concat(pieces))
  }

  addBytes(bytes: Buffer): SpooledContent {
    const name = createHash('sha256').update(bytes).digest('hex')
    const path = this.pathOf(name)
    try {
      if (!existsSync(path)) writeFileSync(path, bytes, { flag: 'wx', mode: 0o600 })
    } catch (error) {
      refuse('write', path, error)
    }
    return { name, dataBytes: bytes.length }
  }
}

function writeWhole(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
}

/** Where the next bytes of a file with these extents belong. */
function placesOf(extents: readonly DataExtent[]) {
  let index = 0
  let used = 0
  return function* (piece: Buffer): Generator<{ readonly bytes: Buffer; readonly at: number }> {
    for (let rest = piece; rest.length > 0; ) {
      const { start, length } = extents[index] as DataExtent
      const bytes = rest.subarray(0, length - used)
      yield { bytes, at: start + used }
      rest = rest.subarray(bytes.length)
      used += bytes.length
      if (used === length) {
        index++
        used = 0
      }
    }
  }
}
