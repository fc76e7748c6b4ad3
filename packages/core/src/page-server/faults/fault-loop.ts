import { type ExtentMap, zeroSource } from '../../layer/extent-map.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { runAtOrBefore } from '../../memory/page-set.js'
import { framePages, hugePageBytes, pageSizeBytes } from '../../memory/units.js'
import { UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE } from '../../sys/abi.js'
import {
  type CopySource,
  type InstallResult,
  maxMessages,
  type UserfaultEvents,
} from '../../sys/userfaultfd.js'
import { FaultRecord, type RecordedFaults } from '../protocol/fault-record.js'
import type { RemovedPages } from '../protocol/removed-pages.js'
import { DeferredFaults } from './deferred-faults.js'
import { counter } from './fault-counters.js'
import {
  type FaultLoopParts,
  type FaultOps,
  readsAtOnce,
  tryAgainEvery,
  zeroWindowPages,
} from './fault-loop-parts.js'
import type { FetchGate } from './fetch-gate.js'
import type { FrameAsker, Frames } from './frames.js'
import { aroundPages, Neighbours } from './neighbours.js'
import { pageOf, RegionIndex } from './region-index.js'
import { WriteProtection } from './write-protection.js'

/**
 * Answers the faults of one VM. Everything is allocated here, once; a fault allocates nothing. It runs on one
 * thread, which may block in system calls only.
 */
export class FaultLoop implements UserfaultEvents {
  readonly #ops: FaultOps
  readonly #regions: readonly MappedRegion[]
  readonly #index: RegionIndex
  #map: ExtentMap
  #layers: readonly CopySource[]
  readonly #zeros: CopySource
  readonly #counters: Float64Array
  readonly #neighbours: Neighbours | undefined
  readonly #deferred = new DeferredFaults()
  readonly #protection: WriteProtection
  readonly #removed: RemovedPages
  readonly #gate: FetchGate | undefined
  readonly #frames: Frames | undefined
  readonly #asker: FrameAsker = {}
  #record: FaultRecord | undefined
  #broken = false
  /** The last second read of a turn found something. */
  #readAgain = true
  #turns = 0

  constructor(parts: FaultLoopParts) {
    this.#ops = parts.ops
    this.#regions = parts.regions
    this.#index = new RegionIndex(parts.regions)
    this.#protection = new WriteProtection(parts.ops, parts.regions, () => this.serve(readsAtOnce))
    this.#map = parts.map
    this.#layers = parts.layers
    this.#zeros = parts.zeros
    this.#counters = parts.counters
    this.#neighbours = parts.around ? new Neighbours(parts.map.pages) : undefined
    this.#removed = parts.removed
    this.#gate = parts.gate
    this.#frames = parts.frames
  }

  /**
   * Answers what is pending, reading at most `maxReads` times: the descriptor polls readable while more is.
   * True while faults remain that must be tried again soon.
   */
  serve(maxReads: number): boolean {
    // Demand comes first: the fetching thread waits until all faults are answered.
    this.#gate?.beginReading()
    try {
      if (this.#ops.removalPending()) this.#removed.expect()
      for (let reads = 0; reads < maxReads; reads++) {
        const events = this.#ops.readEvents(this)
        if (reads === 1) this.#readAgain = events > 0
        if (events === 0) break
        // Less than there is room for was all there was.
        if (reads === 0 && events < maxMessages && !this.#triesAgain()) break
      }
      this.#removed.settle()
      this.#deferred.retry(this.#answerAgain)
      return this.#deferred.count > 0
    } catch (error) {
      this.#broken = true
      throw error
    } finally {
      this.#gate?.endReading()
    }
  }

  /** Whether to read what may have come since the first read of this turn. */
  #triesAgain(): boolean {
    return this.#readAgain || ++this.#turns % tryAgainEvery === 0
  }

  /**
   * Continues after another server ended: lifts the previous server's write protection and wakes all waiters,
   * so that unanswered faults are raised again.
   */
  takeOver(): void {
    this.#protection.lift()
    for (const { address, pages } of this.#regions) this.#ops.wake(address, pages * pageSizeBytes)
  }

  /** The same image from other layers: between two turns, so that no fault is answered from both. */
  replaceImage(map: ExtentMap, layers: readonly CopySource[]): void {
    this.#map = map
    this.#layers = layers
  }

  /** A fault was read and could not be answered: who waits for that page waits for ever. */
  get broken(): boolean {
    return this.#broken
  }

  /**
   * Begins a recording, or another period of it, in which nothing is known yet. With `writes` every page that
   * is there is protected again, so that its next write is seen. All first touches are seen, zero pages among
   * them: they are then installed one by one.
   */
  record(writes: boolean): void {
    const before = this.#record
    if (writes) this.#protection.report()
    // Before pages are protected: a write to one of them may be met, and
    // answered, while others still are not.
    this.#record = new FaultRecord(this.#map.pages, writes, this.#frames === undefined ? 1 : framePages)
    if (writes) this.#protection.set()
    else if (before?.writes === true) this.#protection.lift()
  }

  get recording(): boolean {
    return this.#record !== undefined
  }

  /** What was recorded since the begin of the period; undefined if nothing records. */
  recorded(): RecordedFaults | undefined {
    // What was touched before this call is in it, as far as the kernel has told.
    this.serve(readsAtOnce)
    return this.#record?.copy()
  }

  /** Ends the recording: nothing is protected any more. */
  stopRecording(): void {
    const before = this.#record
    this.#record = undefined
    if (before?.writes === true) this.#protection.lift()
  }

  /** As `UserfaultEvents` has it: called by `serve`. */
  onPagefault(address: number, flags: number): void {
    const region = this.#index.at(address)
    const page = pageOf(region, address)
    this.#record?.note(page, flags)
    this.#count((flags & UFFD_PAGEFAULT_FLAG_WP) === 0 ? counter.faults : counter.firstWrites, 1)
    this.#answer(region, page, flags)
  }

  #answer(region: MappedRegion, page: number, flags: number): void {
    if ((flags & UFFD_PAGEFAULT_FLAG_WP) === 0) {
      if (this.#frames === undefined) this.#install(region, page, flags)
      else this.#installFrame(this.#frames, region, page, flags)
    } else {
      const address = region.address + (page - region.firstPage) * pageSizeBytes
      const length = this.#frames === undefined ? pageSizeBytes : hugePageBytes
      this.#settle(this.#ops.writeProtect(address, length, false), address, flags)
    }
  }

  readonly #answerAgain = (fault: number): void => {
    const region = this.#index.at(fault)
    this.#answer(region, pageOf(region, fault), fault % pageSizeBytes)
  }

  /** As `onPagefault`. */
  onRemove(start: number, end: number): void {
    // Firecracker removes within one region at a time, but nothing here depends on it.
    for (let index = this.#index.placeOf(start); index < this.#regions.length; index++) {
      const region = this.#regions[index] as MappedRegion
      if (region.address >= end) return
      const first = Math.max(start, region.address)
      const last = Math.min(end, region.address + region.pages * pageSizeBytes)
      const pages = (last - first) / pageSizeBytes
      if (pages <= 0) continue
      this.#removed.add(pageOf(region, first), pages)
      this.#count(counter.removedPages, pages)
    }
  }

  #install(region: MappedRegion, page: number, flags: number): void {
    const address = region.address + (page - region.firstPage) * pageSizeBytes
    const run = runAtOrBefore(this.#map.starts, page)
    const start = this.#map.starts[run] as number
    const source = this.#map.sources[run] as number
    if (source === zeroSource || this.#removed.has(page)) {
      const most = Math.min(region.firstPage + region.pages, page + zeroWindowPages)
      const runEnd =
        source === zeroSource
          ? Math.min(start + (this.#map.counts[run] as number), most)
          : this.#removed.endOfRun(page, most)
      const pages = runEnd - page
      // A page of zeros of its own can be protected; the kernel's shared one cannot, or not at once.
      if (this.#record?.writes === true) this.#copy(address, this.#zeros, 0, flags)
      else this.#zero(address, this.#record === undefined ? pages : 1, flags)
    } else {
      const layer = this.#layers[source] as CopySource
      const storedPage = (this.#map.storedStarts[run] as number) + page - start
      const end = start + (this.#map.counts[run] as number)
      // A recording wants to see single pages.
      const around = this.#record === undefined && this.#neighbours?.comeWith(page) === true
      if (around && this.#copyAround(region, page, start, end, layer, storedPage)) return
      this.#copy(address, layer, storedPage, flags)
    }
  }

  /** The kernel reports the first address of a huge page, whichever part of it was touched. */
  #installFrame(frames: Frames, region: MappedRegion, page: number, flags: number): void {
    const address = region.address + (page - region.firstPage) * pageSizeBytes
    const protect = this.#record?.writes === true && (flags & UFFD_PAGEFAULT_FLAG_WRITE) === 0
    const result = frames.install(this.#ops, address, page, this.#asker, protect)
    if (result === 'installed') this.#count(counter.copiedPages, framePages)
    else if (result === 'starved') {
      this.#count(counter.retries, 1)
      this.#deferred.add(address + flags)
    } else this.#settle(result, address, flags)
  }

  /**
   * A page with its neighbours in the same run and region; false if one of them was
   * there, or must be tried again.
   */
  #copyAround(
    region: MappedRegion,
    page: number,
    start: number,
    end: number,
    layer: CopySource,
    storedPage: number,
  ): boolean {
    const window = page - (page % aroundPages)
    let first = Math.max(window, start, region.firstPage)
    let last = Math.min(window + aroundPages, end, region.firstPage + region.pages) - 1
    // What was removed is zero, whatever the layer has.
    if (this.#removed.any)
      for (let it = first; it <= last; it++)
        if (this.#removed.has(it)) {
          if (it < page) first = it + 1
          else last = it - 1
        }
    const pages = last + 1 - first
    if (pages === 1) return false
    const address = region.address + (first - region.firstPage) * pageSizeBytes
    const offset = (storedPage - (page - first)) * pageSizeBytes
    const whole = this.#ops.copy(address, layer, offset, pages * pageSizeBytes) === 'installed'
    this.#count(counter.copiedPages, whole ? pages : this.#ops.copiedBytes / pageSizeBytes)
    return whole
  }

  #copy(address: number, layer: CopySource, storedPage: number, flags: number): void {
    const protect = this.#record?.writes === true && (flags & UFFD_PAGEFAULT_FLAG_WRITE) === 0
    const result = this.#ops.copy(address, layer, storedPage * pageSizeBytes, pageSizeBytes, protect)
    if (result === 'installed') this.#count(counter.copiedPages, 1)
    else this.#settle(result, address, flags)
  }

  #zero(address: number, pages: number, flags: number): void {
    this.#count(counter.zeroCalls, 1)
    let result = this.#ops.zero(address, pages * pageSizeBytes)
    if (result === 'gone' && pages > 1) {
      // The kernel refuses a range that is not one mapping. Firecracker's balloon up to 1.10 maps fresh
      // memory over a part of a region; the page that a thread waits for may be on this side of it.
      this.#count(counter.zeroCalls, 1)
      result = this.#ops.zero(address, pageSizeBytes)
    }
    // A run that met a page already there stops with "again" too, but by then the
    // faulting page, its first, is done.
    if (result !== 'installed' && this.#ops.zeroedBytes === 0) this.#settle(result, address, flags)
  }

  /**
   * A page that was not installed: it is there already, must be tried again, or
   * no thread waits for it any more.
   */
  #settle(result: InstallResult, address: number, flags: number): void {
    if (result === 'exists') {
      this.#count(counter.existing, 1)
      this.#ops.wake(address, pageSizeBytes)
    } else if (result === 'again') {
      this.#count(counter.retries, 1)
      this.#removed.expect()
      this.#deferred.add(address + flags)
    }
  }

  #count(index: number, by: number): void {
    this.#counters[index] = (this.#counters[index] as number) + by
  }
}
