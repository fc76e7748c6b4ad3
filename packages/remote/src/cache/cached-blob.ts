import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from 'varve'
import { readAt, syncFile, throwIfAborted, type WritableFile, writeAt } from 'varve/testing'
import { type FramedIndex, framesOf, layerBytesOf } from '../framed/framed-index.js'
import { openFrame } from '../framed/open-frame.js'
import { PagePlaces } from '../framed/page-places.js'
import { writeFrame } from '../framed/unframe-layer.js'
import { markOf, markOffset } from './frame-marks.js'
import type { Pin } from './pin-blob.js'

/** Brings the stored bytes of a frame: `rangeOfFrames(index, frame)` of the blob. */
export type BringFrame = (frame: number) => Promise<Uint8Array>

export interface CachedBlobParts {
  readonly index: FramedIndex
  /** The sparse file of the layer. */
  readonly layer: WritableFile
  /** The file of marks. */
  readonly marks: WritableFile
  /** Which frames are here, one byte each. */
  readonly here: Uint8Array
  readonly pin: Pin
  /** Told how many bytes were written. */
  readonly onWritten: (bytes: number) => void
}

/** How long frames wait for others to share a sync with. */
const gatherMs = 20

/** A framed layer in a cache, pinned: its frames come once each, and stay. */
export class CachedBlob implements AsyncDisposable {
  /** What the framed layer's index says. */
  readonly index: FramedIndex
  /** Where the layer has its pages: read by pread what is here, and nothing else. */
  readonly layerPath: string
  /** Which page is in which frame. */
  readonly places: PagePlaces
  readonly #parts: CachedBlobParts
  readonly #coming = new Map<number, Promise<void>>()
  #unmarked: number[] = []
  #marking: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(parts: CachedBlobParts) {
    this.#parts = parts
    this.index = parts.index
    this.layerPath = parts.layer.path
    this.places = new PagePlaces(parts.index)
  }

  /** Whether a frame is here. */
  has(frame: number): boolean {
    return this.#parts.here[frame] === 1
  }

  /** How many frames are here. */
  get framesHere(): number {
    return this.#parts.here.reduce((sum, it) => sum + it, 0)
  }

  /** Whether all of the layer is here. */
  get whole(): boolean {
    return this.framesHere === framesOf(this.index)
  }

  /**
   * Resolves when a frame is here. However many ask, it is brought once, and not for the first one alone: an
   * abort ends the waiting, not the bringing. Fails with what `bring` throws, with CHECKSUM_MISMATCH or
   * FORMAT_INVALID (what came is not the frame), or with WRITE_FAILED; the next one that asks tries again.
   */
  async need(
    frame: number,
    bring: BringFrame,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    if (this.has(frame)) return
    if (!(Number.isInteger(frame) && frame >= 0 && frame < framesOf(this.index)))
      throw new VarveError(
        'INVALID_ARGUMENT',
        `frame ${frame} is none of the ${framesOf(this.index)} of ${this.layerPath}`,
      )
    throwIfAborted(signal, this.layerPath)
    let coming = this.#coming.get(frame)
    if (coming === undefined) {
      coming = this.#bring(frame, bring).finally(() => this.#coming.delete(frame))
      this.#coming.set(frame, coming)
      // If all that wait are aborted, a failure is not unhandled.
      coming.catch(() => {})
    }
    if (signal === undefined) return coming
    await until(coming, signal)
    if (!this.has(frame)) throwIfAborted(signal, this.layerPath)
  }

  async #bring(frame: number, bring: BringFrame): Promise<void> {
    this.#assertSound()
    const raw = await openFrame(this.index, frame, await bring(frame), this.layerPath)
    // While the frame was on its way, a sync may have failed.
    this.#assertSound()
    const { layer, here, onWritten } = this.#parts
    writeFrame(layer, this.index, this.places, frame, raw)
    here[frame] = 1
    this.#unmarked.push(frame)
    onWritten(raw.length)
    this.#marking ??= this.#markSoon()
  }

  #assertSound(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Frames are synced before they are marked; those that came meanwhile share the next sync. */
  async #markSoon(): Promise<void> {
    while (this.#unmarked.length > 0 && this.#failure === undefined) {
      await sleep(gatherMs)
      await this.#markNow()
    }
    this.#marking = undefined
  }

  /**
   * Does not throw. fsync(2) tells of a failed write once: what was written since the last sync may be lost,
   * and is here no more.
   */
  async #markNow(): Promise<void> {
    const frames = this.#unmarked
    this.#unmarked = []
    if (frames.length === 0) return
    const { layer, marks, here } = this.#parts
    try {
      await syncFile(layer)
      for (const frame of frames) writeAt(marks, markOf(this.index, frame), markOffset(frame))
    } catch (error) {
      this.#failure = { error }
      for (const frame of [...frames, ...this.#unmarked]) here[frame] = 0
      this.#unmarked = []
    }
  }

  /** Fills `buffer` from a page of the layer on; the frames of these pages must be here. */
  async read(page: number, buffer: Uint8Array): Promise<void> {
    await readAt(this.#parts.layer.handle, this.layerPath, buffer, page * 4096)
  }

  /** Bytes of the layer, data and holes. */
  get layerBytes(): number {
    return layerBytesOf(this.index)
  }

  /** Waits for the frames that are coming, and marks all that came. Throws if a sync failed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { layer, marks, pin } = this.#parts
    try {
      await Promise.allSettled(this.#coming.values())
      await this.#marking
      if (this.#failure === undefined) await this.#markNow()
      this.#assertSound()
      await syncFile(marks)
    } finally {
      await layer[Symbol.asyncDispose]()
      await marks[Symbol.asyncDispose]()
      await pin[Symbol.asyncDispose]()
    }
  }
}

/** Settles as `work`, or resolves once the signal is aborted. */
async function until(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const stop = new AbortController()
  const aborted = once(signal, 'abort', { signal: stop.signal }).then(
    () => {},
    () => {},
  )
  try {
    await Promise.race([work, aborted])
  } finally {
    stop.abort()
  }
}
