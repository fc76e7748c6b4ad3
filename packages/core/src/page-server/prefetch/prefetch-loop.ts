import { zeroSource } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { CopySource, InstallResult, UserfaultOps } from '../../sys/userfaultfd.js'
import { counterPlaces } from '../faults/counter-places.js'
import type { FetchGate } from '../faults/fetch-gate.js'
import { maxPiecePages, type PrefetchPiece } from './prefetch-plan.js'

/**
 * Values of the second word of a task's `halt`. The side that changes it from 0 decides whether the order is
 * carried out.
 */
export const hasBegun = 1
export const calledOff = 2

/** Places in the shared counters of the thread that fetches ahead. */
export const prefetchCounterNames = [
  /** In the set, all in all. */
  'plannedPages',
  /** Installed from layers, before the guest asked for them. */
  'copiedPages',
  'zeroPages',
  /** There already: demand was first. */
  'existingPages',
  /** Calls that installed, or tried to. */
  'requests',
  /** Read from files past the page cache, with gaps. */
  'readBytes',
] as const
export type PrefetchCounterName = (typeof prefetchCounterNames)[number]
/** The place of each in the counters. */
export const prefetchCounter = counterPlaces(prefetchCounterNames)
const counter = prefetchCounter

/**
 * A layer that is read past the page cache fills the staging memory; the others are
 * copied from where they are mapped.
 */
export interface PrefetchSource {
  readonly mapped: CopySource
  /** Fills `staging` from the file; undefined for a layer that is in the page cache. */
  readonly read?: ((firstPage: number, pages: number) => void) | undefined
}

export type PrefetchOps = Pick<UserfaultOps, 'copy' | 'copiedBytes' | 'zero' | 'zeroedBytes'>

/**
 * Pages that are read although they are not wanted, if that saves a request: the gap that
 * `mergeGaps` closes by default.
 */
const maxGapPages = 32
export const stagingPages = maxPiecePages

/** 128 KiB: some 40 µs of copying, the longest that a fault waits for it. */
const copyPages = 32

/**
 * A pending event holds copies back until the fault thread reads it, within microseconds. This is
 * far more tries than that takes.
 */
export const maxTries = 5000

export interface PrefetchLoopParts {
  readonly ops: PrefetchOps
  readonly regions: readonly MappedRegion[]
  readonly plan: readonly PrefetchPiece[]
  readonly sources: readonly PrefetchSource[]
  /** Of `stagingPages`; what `read` fills. */
  readonly staging: CopySource
  readonly counters: Float64Array
  /** Called before every installation, within the gate. */
  readonly halted: () => boolean
  /** Lets others run for about a millisecond. */
  readonly pause: () => void
  /** Shared with the fault loop. */
  readonly gate: Pick<FetchGate, 'beginCopy' | 'endCopy'>
  /** Reads mapped pages of a layer into memory if they are not there: no copy may wait for the disk. */
  readonly bring: (address: number, lengthBytes: number) => void
  /** Called before each piece: waits while others need the CPU more. */
  readonly yields: () => void
}

/**
 * Installs the pages of a plan, whatever the fault loop does meanwhile. One
 * thread; may block in system calls.
 */
export class PrefetchLoop {
  readonly #ops: PrefetchOps
  readonly #byPage: readonly MappedRegion[]
  readonly #plan: readonly PrefetchPiece[]
  readonly #sources: readonly PrefetchSource[]
  readonly #staging: CopySource
  readonly #counters: Float64Array
  readonly #halted: () => boolean
  readonly #pause: () => void
  readonly #yields: () => void
  readonly #gate: Pick<FetchGate, 'beginCopy' | 'endCopy'>
  readonly #bring: (address: number, lengthBytes: number) => void

  constructor(parts: PrefetchLoopParts) {
    this.#ops = parts.ops
    this.#byPage = [...parts.regions].sort((a, b) => a.firstPage - b.firstPage)
    this.#plan = parts.plan
    this.#sources = parts.sources
    this.#staging = parts.staging
    this.#counters = parts.counters
    this.#halted = parts.halted
    this.#pause = parts.pause
    this.#yields = parts.yields
    this.#gate = parts.gate
    this.#bring = parts.bring
    this.#counters[counter.plannedPages] = this.#plan.reduce((sum, { pages }) => sum + pages, 0)
  }

  /** True when all of the plan was done; false when it was halted. */
  run(): boolean {
    for (let next = 0; next < this.#plan.length; ) {
      this.#yields()
      if (this.#halted()) return false
      const first = this.#plan[next] as PrefetchPiece
      const source = this.#sources[first.source]
      if (first.source === zeroSource || source?.read === undefined) {
        const from = source?.mapped
        this.#install(first, from, first.storedPage)
        next++
        continue
      }
      const end = this.#readTogether(next)
      const last = this.#plan[end - 1] as PrefetchPiece
      const pages = last.storedPage + last.pages - first.storedPage
      source.read(first.storedPage, pages)
      this.#count(counter.readBytes, pages * pageSizeBytes)
      for (; next < end && !this.#halted(); next++) {
        const piece = this.#plan[next] as PrefetchPiece
        this.#install(piece, this.#staging, piece.storedPage - first.storedPage)
      }
    }
    return !this.#halted()
  }

  /**
   * One behind the last piece that one read serves: the same layer, ascending, little between,
   * all within the staging memory.
   */
  #readTogether(begin: number): number {
    const first = this.#plan[begin] as PrefetchPiece
    let behind = first.storedPage + first.pages
    let end = begin + 1
    for (; end < this.#plan.length; end++) {
      const { source, storedPage, pages } = this.#plan[end] as PrefetchPiece
      if (source !== first.source || storedPage < behind || storedPage - behind > maxGapPages) break
      if (storedPage + pages - first.storedPage > stagingPages) break
      behind = storedPage + pages
    }
    return end
  }

  /** `from` undefined: zeros. A piece can lie in several regions, or none. */
  #install({ page, pages }: PrefetchPiece, from: CopySource | undefined, fromPage: number): void {
    for (const region of this.#byPage) {
      const first = Math.max(page, region.firstPage)
      const end = Math.min(page + pages, region.firstPage + region.pages)
      if (first >= end) continue
      const address = region.address + (first - region.firstPage) * pageSizeBytes
      this.#installAt(address, end - first, from, (fromPage + first - page) * pageSizeBytes)
    }
  }

  #installAt(address: number, pages: number, from: CopySource | undefined, offset: number): void {
    const length = pages * pageSizeBytes
    if (from !== undefined && from !== this.#staging) this.#bring(from.address + offset, length)
    let tries = 0
    for (let done = 0; done < length; ) {
      const left = Math.min(length - done, (from === undefined ? maxPiecePages : copyPages) * pageSizeBytes)
      const result = this.#call(address + done, from, offset + done, left)
      if (result === 'halted') return
      this.#count(counter.requests, 1)
      const installed = result === 'installed' ? left : this.#partlyInstalled(from)
      this.#count(from === undefined ? counter.zeroPages : counter.copiedPages, installed / pageSizeBytes)
      done += installed
      if (result === 'exists') {
        this.#count(counter.existingPages, 1)
        done += pageSizeBytes
      } else if (result === 'gone') return
      else if (result === 'again' && installed === 0) {
        // An event waits for the fault loop. What stays missing is fetched when it is asked for.
        if (++tries === maxTries) return
        this.#pause()
      }
    }
  }

  /** Makes one call, unless a removal was read before it. */
  #call(
    address: number,
    from: CopySource | undefined,
    offset: number,
    length: number,
  ): InstallResult | 'halted' {
    this.#gate.beginCopy()
    try {
      if (this.#halted()) return 'halted'
      return from === undefined
        ? this.#ops.zero(address, length)
        : this.#ops.copy(address, from, offset, length)
    } finally {
      this.#gate.endCopy()
    }
  }

  #partlyInstalled(from: CopySource | undefined): number {
    return from === undefined ? this.#ops.zeroedBytes : this.#ops.copiedBytes
  }

  #count(index: number, by: number): void {
    this.#counters[index] = (this.#counters[index] as number) + by
  }
}
