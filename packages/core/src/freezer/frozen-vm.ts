import { closeSync, openSync, readSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from '../errors.js'
import { openImage } from '../layer/image-reader.js'
import { isZeroPage } from '../layer/zero-pages.js'
import { tooManyCopies } from '../memory/frozen-copies.js'
import type { FrozenSource } from '../memory/frozen-source.js'
import { pageRange, pageSetFromRuns } from '../memory/make-page-set.js'
import { forEachStretch } from '../memory/mapped-region.js'
import {
  emptyBitmap,
  fewPagesOf,
  type PageBitmap,
  pageSetFromBitmap,
  setBits,
} from '../memory/page-bitmap.js'
import { emptyPageSet, type PageRun, type PageSet, runsOf } from '../memory/page-set.js'
import { union } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import { dataExtents } from '../sys/extents.js'
import { mappingsOf } from '../sys/mappings.js'
import { createFile, removeFile, truncate, type WritableFile, writeAt } from '../sys/mutations.js'
import { Pagemap } from '../sys/pagemap.js'
import { type ProcessIdentity, residentBytes } from '../sys/proc.js'
import { DirtyLog } from './dirty-log.js'
import { findSlots, type MemorySlot } from './find-slots.js'
import type {
  AttachOrder,
  DescribeOrder,
  FrozenReport,
  HoldOrder,
  KeepDiffOrder,
  OwedPagesPlace,
  TakeOrder,
  WriteOrder,
} from './freeze-protocol.js'
import { type FrozenMemory, readMemory } from './frozen-memory.js'
import { readOwedPages, writeOwedBitmap, writeOwedPages } from './owed-pages.js'
import { StateLease } from './state-lease.js'
import { Twin } from './twin.js'

/** The largest copy, 20 MiB: memory for it is made, and touched, before the guest is paused. */
const mostCopiedPages = 5120
/** What a copy costs for each page, and a fork for each page that the VMM has (docs/results/capture.md). */
const copyMsOf = (pages: number) => 0.002 * pages
const forkMsOf = (residentPages: number) => 1 + 0.00012 * residentPages
/** Pages a read and write: 2 MiB. */
const chunkPages = 512
const lookEveryMs = 200

type Source = (address: number, into: Uint8Array) => void

let touched: Buffer | undefined
/** Made once for all captures of this process, which come one after the other. */
function copyMemory(): Buffer {
  touched ??= Buffer.alloc(mostCopiedPages * pageSizeBytes, 1)
  return touched
}

/** One VMM whose memory is being captured while its guest runs on; see docs/decisions/0015. */
export class FrozenVm implements Disposable {
  /** As of its `Twin`. */
  readonly heldMs: number
  readonly #vmm: ProcessIdentity
  readonly #slots: readonly MemorySlot[]
  readonly #memoryPages: number
  readonly #copy = copyMemory()
  #twin: Twin | undefined
  #lease: StateLease | undefined
  /** Open, because it is removed before all is written. */
  #diff: { readonly fd: number; readonly pages: PageSet } | undefined
  #log: DirtyLog | undefined
  #owed: { readonly path: string; readonly from: string | null } | undefined
  /** KVM's log, with the pages of an earlier one. */
  #logged: PageBitmap | undefined
  #written: PageSet = emptyPageSet
  #frozen: FrozenMemory | undefined
  /** Or what finds them, when the guest runs again. */
  #taken: PageSet | (() => PageSet) = emptyPageSet

  private constructor(twin: Twin, { vmm, memoryBytes, logged, directory }: AttachOrder) {
    this.heldMs = twin.heldMs
    this.#vmm = vmm
    this.#memoryPages = memoryBytes / pageSizeBytes
    this.#twin = twin
    this.#slots = findSlots(twin, vmm, { memoryBytes, logged })
    if (logged) this.#log = new DirtyLog(twin, this.#slots)
    this.#rehearse(join(directory, `rehearsal.${process.pid}`))
  }

  /**
   * Does once, without any effect, what is done while the guest stands still: code takes several times longer
   * when it runs for the first time.
   */
  #rehearse(path: string): void {
    try {
      this.#logged = this.#log?.rehearse() ?? emptyBitmap(0, this.#memoryPages)
      setBits(this.#logged, pageRange(0, 1))
      this.#owed = { path, from: null }
      for (let times = 0; times < 3; times++) this.#copyIsQuicker('auto', this.#few() ?? emptyPageSet)
      this.#keepLog()
      this.#writtenByLog()
      truncateSync(path, this.#memoryPages * pageSizeBytes)
      this.keepDiff({ do: 'keep-diff', diffPath: path })
      // A file that is open has no lease.
      this.#endDiff()
      using lease = StateLease.take(path)
      lease.release()
      this.#rehearseCopy()
    } finally {
      rmSync(path, { force: true })
      this.#owed = undefined
      this.#logged = undefined
      this.#endDiff()
      this.#written = emptyPageSet
    }
  }

  #rehearseCopy(): void {
    try {
      this.#copyTaken(this.#freeTwin.identity, pageRange(0, 1))
    } catch (error) {
      // EIO: a page server feeds this VM, and the page has not come. Pages that were written have.
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
    }
  }

  static attach(order: AttachOrder): FrozenVm {
    const twin = Twin.of(order.vmm)
    try {
      return new FrozenVm(twin, order)
    } catch (error) {
      twin[Symbol.dispose]()
      throw error
    }
  }

  get regions(): number {
    return this.#slots.length
  }

  /** HOST_UNSUPPORTED if the file can have no lease. */
  hold({ statePath }: HoldOrder): void {
    this.#lease = StateLease.take(statePath)
  }

  /**
   * When Firecracker has saved its state and waits: takes log and memory, has it go on, and keeps the log in
   * a file meanwhile. Whatever fails, it goes on, and the log is kept.
   */
  take({ log, pages, how }: TakeOrder): FrozenReport {
    using lease = this.#lease
    if (lease === undefined) throw new VarveError('INVALID_ARGUMENT', 'take before hold')
    this.#lease = undefined
    lease.awaitOpen(this.#vmm)
    if (log !== null) this.#takeLog(log)
    let report: FrozenReport
    let wasHeld: boolean
    try {
      report = this.#freeze(pages, how)
      wasHeld = lease.release()
    } finally {
      if (log !== null) this.#keepLog()
    }
    if (wasHeld) return report
    throw new VarveError(
      'INJECTION_FAILED',
      `process ${this.#vmm.pid} went on before its memory was taken: /proc/sys/fs/lease-break-time is too short`,
    )
  }

  /** Takes KVM's log, which from then on is nowhere but here. */
  #takeLog({ owedPath, from, owes }: OwedPagesPlace): void {
    const owed = owes ? readOwedPages(owedPath, this.#memoryPages) : undefined
    if (owed !== undefined && owed.from !== from)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `the owed pages ${owedPath} count from ${owed.from}, not ${from}`,
      )
    if (this.#log === undefined) throw new VarveError('INVALID_ARGUMENT', 'this machine has no log')
    this.#owed = { path: owedPath, from }
    this.#logged = this.#log.take()
    if (owed !== undefined) setBits(this.#logged, owed.written)
  }

  #keepLog(): void {
    if (this.#logged === undefined || this.#owed === undefined) return
    const { path, from } = this.#owed
    writeOwedBitmap(path, { from, memoryPages: this.#memoryPages }, this.#logged)
  }

  /** Worked out when the guest runs again. */
  #writtenByLog(): void {
    if (this.#logged !== undefined) this.#written = pageSetFromBitmap(this.#logged)
    this.#logged = undefined
  }

  /** What was written, if it is so little that it may be copied. */
  #few(): PageSet | undefined {
    return this.#logged === undefined ? undefined : fewPagesOf(this.#logged, mostCopiedPages)
  }

  #keep(): void {
    if (this.#owed === undefined) throw new VarveError('INVALID_ARGUMENT', 'the log was not taken')
    const { path, from } = this.#owed
    writeOwedPages(path, { from, memoryPages: this.#memoryPages, written: this.#written })
  }

  keepDiff({ diffPath }: KeepDiffOrder): number {
    this.#writtenByLog()
    const pages = dataPagesOf(diffPath, this.#memoryPages)
    this.#written = union(this.#written, pages)
    this.#keep()
    // A child has them, too; a copy was made before they were known.
    if (this.#frozen === undefined) this.#diff = { fd: openSync(diffPath, 'r'), pages }
    else this.#taken = this.#written
    return this.#written.pages
  }

  #freeze(pages: TakeOrder['pages'], how: TakeOrder['how']): FrozenReport {
    const few = pages === 'written' ? this.#few() : undefined
    if (few !== undefined && this.#copyIsQuicker(how, few)) {
      this.#taken = few
      this.#copyTaken(this.#freeTwin.identity, few)
      return { how: 'copy', child: null }
    }
    const frozen = this.#freeTwin.fork()
    this.#frozen = frozen
    this.#taken = () => (pages === 'written' ? this.#written : this.#pagesThere(frozen.identity, pages))
    return { how: 'fork', child: frozen.identity }
  }

  get #freeTwin(): Twin {
    if (this.#twin === undefined) throw new VarveError('INVALID_ARGUMENT', 'the memory is frozen already')
    return this.#twin
  }

  #copyIsQuicker(how: 'auto' | 'copy' | 'fork', { pages }: PageSet): boolean {
    if (how === 'fork') return false
    return how === 'copy' || copyMsOf(pages) < forkMsOf((residentBytes(this.#vmm.pid) ?? 0) / pageSizeBytes)
  }

  /** From the twin, which has the VMM's memory: the VMM's pid can be another process's by now. */
  #copyTaken(twin: ProcessIdentity, taken: PageSet): void {
    const memory = openSync(`/proc/${twin.pid}/mem`, 'r')
    try {
      let at = 0
      for (const { start, count } of runsOf(taken))
        forEachStretch(this.#slots, start, count, (address, bytes) => {
          if (!readMemory(memory, address, this.#copy.subarray(at, at + bytes)))
            throw new VarveError(
              'MACHINE_EXITED',
              `process ${this.#vmm.pid} ended while its memory was copied`,
            )
          at += bytes
        })
    } finally {
      closeSync(memory)
    }
  }

  /** The twin is of no use once the memory is taken: to be called when the guest may run again. */
  endTwin(): void {
    const twin = this.#twin
    if (twin === undefined) return
    this.#twin = undefined
    this.#log?.free()
    this.#log = undefined
    twin[Symbol.dispose]()
  }

  /** What the page tables hold of its own; with `all`, also all of what comes from files. */
  #pagesThere({ pid }: ProcessIdentity, which: 'private' | 'all'): PageSet {
    using pagemap = new Pagemap(pid)
    const runs: PageRun[] = []
    const mappings = mappingsOf(pid)
    for (const { address, firstPage, pages } of this.#slots) {
      const end = address + pages * pageSizeBytes
      const add = (from: number, to: number) =>
        runs.push({ start: firstPage + (from - address) / pageSizeBytes, count: (to - from) / pageSizeBytes })
      for (const mapping of mappings) {
        const [from, to] = [Math.max(address, mapping.start), Math.min(end, mapping.end)]
        if (from >= to) continue
        if (which === 'all' && mapping.inode !== '0') add(from, to)
        else pagemap.forEachRun(from, to, (start, last, kind) => kind === 'anonymous' && add(start, last))
      }
    }
    return pageSetFromRuns(runs)
  }

  /** Found out once: a child that stands still has the same page tables for ever. */
  #pagesTaken(): PageSet {
    if (typeof this.#taken !== 'function') return this.#taken
    try {
      this.#taken = this.#taken()
    } finally {
      // One that was killed has no page tables.
      this.#frozen?.assertWhole()
    }
    return this.#taken
  }

  /** Where the memory lies that is frozen in a child. */
  describe({ takenPath }: DescribeOrder): FrozenSource {
    if (this.#frozen === undefined) throw new VarveError('INVALID_ARGUMENT', 'no child holds the memory')
    const written = this.#pagesTaken()
    writeOwedPages(takenPath, { from: null, memoryPages: this.#memoryPages, written })
    const regions = this.#slots.map(({ address, firstPage, pages }) => ({ address, firstPage, pages }))
    return { process: this.#frozen.identity, regions }
  }

  /** Writes what was taken, at its places in a memory file. Gives how many pages have data. */
  async write(
    { path, kind, parent, mostCopiedBytes, keep }: WriteOrder,
    onProgress: (pages: number, copiedBytes: number) => void,
  ): Promise<number> {
    const frozen = this.#frozen
    const taken = this.#pagesTaken()
    const source: Source =
      frozen === undefined ? this.#fromCopy() : (address, into) => frozen.read(address, into)
    const file = await createFile(path)
    try {
      await using _close = file
      truncate(file, this.#memoryPages * pageSizeBytes)
      await using image = parent === null ? undefined : await openImage(parent)
      const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
      const before = Buffer.allocUnsafe(image === undefined ? 0 : buffer.length)
      const isAsBefore: Test = (pages, at) =>
        pages.compare(before, at, at + pageSizeBytes, at, at + pageSizeBytes) === 0
      const leaveOut = image !== undefined ? isAsBefore : kind === 'diff' ? nothing : isZeroPage
      let [done, data, looked] = [0, 0, Number.NEGATIVE_INFINITY]
      for (const { start, count } of runsOf(taken))
        for (let from = start; from < start + count; from += chunkPages) {
          const run = { start: from, count: Math.min(chunkPages, start + count - from) }
          const bytes = buffer.subarray(0, run.count * pageSizeBytes)
          let at = 0
          forEachStretch(this.#slots, run.start, run.count, (address, length) => {
            source(address, bytes.subarray(at, at + length))
            at += length
          })
          await image?.read(run.start, before.subarray(0, bytes.length))
          data += writeBut(leaveOut, file, run, bytes)
          done += run.count
          if (performance.now() - looked < lookEveryMs) continue
          looked = performance.now()
          const copiedBytes = frozen?.copiedBytes ?? 0
          onProgress(done, copiedBytes)
          const remedy = 'capture when the guest writes less, give the host more memory, or use mode stop'
          const error = tooManyCopies(this.#vmm, copiedBytes, mostCopiedBytes, remedy)
          if (error !== undefined) throw error
        }
      if (this.#diff !== undefined) data += copyDiff(this.#diff, file)
      frozen?.assertWhole()
      return data
    } catch (error) {
      await removeFile(path)
      throw error
    } finally {
      if (!keep) this.#endFrozen()
    }
  }

  /** The copy lies in the order of the pages that were taken, and is read in that order. */
  #fromCopy(): Source {
    let at = 0
    return (_, into) => {
      this.#copy.copy(into, 0, at, at + into.length)
      at += into.length
    }
  }

  #endFrozen(): void {
    this.#frozen?.[Symbol.dispose]()
    this.#frozen = undefined
  }

  #endDiff(): void {
    if (this.#diff !== undefined) closeSync(this.#diff.fd)
    this.#diff = undefined
  }

  [Symbol.dispose](): void {
    this.#endDiff()
    this.#lease?.[Symbol.dispose]()
    this.endTwin()
    this.#endFrozen()
  }
}

function dataPagesOf(path: string, pages: number): PageSet {
  const fd = openSync(path, 'r')
  try {
    const extents = [...dataExtents(fd, pages * pageSizeBytes)]
    return pageSetFromRuns(
      extents.map(({ startBytes, endBytes }) => ({
        start: startBytes / pageSizeBytes,
        count: (endBytes - startBytes) / pageSizeBytes,
      })),
    )
  } finally {
    closeSync(fd)
  }
}

/** What Firecracker's devices wrote, as Firecracker wrote it down. Gives how many pages. */
function copyDiff(
  { fd, pages }: { readonly fd: number; readonly pages: PageSet },
  file: WritableFile,
): number {
  const buffer = Buffer.allocUnsafe(chunkPages * pageSizeBytes)
  for (const { start, count } of runsOf(pages))
    for (let from = start; from < start + count; from += chunkPages) {
      const bytes = buffer.subarray(0, Math.min(chunkPages, start + count - from) * pageSizeBytes)
      if (readSync(fd, bytes, 0, bytes.length, from * pageSizeBytes) !== bytes.length)
        throw new VarveError('IMAGE_MISMATCH', 'the Diff of Firecracker has become shorter')
      writeAt(file, bytes, from * pageSizeBytes)
    }
  return pages.pages
}

type Test = (pages: Buffer, offset: number) => boolean
const nothing: Test = () => false

/** All but the pages for which `leaveOut` holds; gives how many. */
function writeBut(leaveOut: Test, file: WritableFile, { start, count }: PageRun, bytes: Buffer): number {
  let written = 0
  for (let page = 0; page < count; ) {
    const out = leaveOut(bytes, page * pageSizeBytes)
    const from = page++
    while (page < count && leaveOut(bytes, page * pageSizeBytes) === out) page++
    if (out) continue
    writeAt(file, bytes.subarray(from * pageSizeBytes, page * pageSizeBytes), (start + from) * pageSizeBytes)
    written += page - from
  }
  return written
}
