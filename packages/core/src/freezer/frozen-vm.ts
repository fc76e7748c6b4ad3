import { closeSync, openSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from '../errors.js'
import type { FrozenSource } from '../memory/frozen-source.js'
import { pageRange } from '../memory/make-page-set.js'
import {
  emptyBitmap,
  fewPagesOf,
  type PageBitmap,
  pageSetFromBitmap,
  setBits,
} from '../memory/page-bitmap.js'
import { emptyPageSet, type PageSet } from '../memory/page-set.js'
import { union } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import { type ProcessIdentity, residentBytes } from '../sys/proc.js'
import { type DeviceDiff, dataPagesOf } from './device-diff.js'
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
import type { FrozenMemory } from './frozen-memory.js'
import { HeldNote } from './held-note.js'
import { readOwedPages, writeOwedBitmap, writeOwedPages } from './owed-pages.js'
import { type MemorySource, mostCopiedPages, PagesCopy } from './pages-copy.js'
import { pagesThere } from './pages-there.js'
import { StateLease } from './state-lease.js'
import { Twin } from './twin.js'
import { writeMemory } from './write-memory.js'

/** What a copy costs for each page, and a fork for each page that the VMM has (docs/results/capture.md). */
const copyMsOf = (pages: number) => 0.002 * pages
const forkMsOf = (residentPages: number) => 1 + 0.00012 * residentPages

/** One VMM whose memory is being captured while its guest runs on; see docs/decisions/0015. */
export class FrozenVm implements Disposable {
  /** As of its `Twin`. */
  readonly heldMs: number
  readonly #vmm: ProcessIdentity
  readonly #slots: readonly MemorySlot[]
  readonly #memoryPages: number
  readonly #copy = new PagesCopy()
  #twin: Twin | undefined
  #lease: StateLease | undefined
  #diff: DeviceDiff | undefined
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
      this.#copyTaken(pageRange(0, 1))
    } catch (error) {
      // EIO: a page server feeds this VM, and the page has not come. Pages that were written have.
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
    }
  }

  static attach(order: AttachOrder): FrozenVm {
    using note = new HeldNote(order.heldNotePath)
    const twin = Twin.of(order.vmm, (isHeld) => note.set(isHeld))
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
      this.#copyTaken(few)
      return { how: 'copy', child: null }
    }
    const frozen = this.#freeTwin.fork()
    this.#frozen = frozen
    this.#taken = () =>
      pages === 'written' ? this.#written : pagesThere(frozen.identity, this.#slots, pages)
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

  #copyTaken(taken: PageSet): void {
    this.#copy.take(this.#freeTwin.identity, this.#vmm, this.#slots, taken)
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
  async write(order: WriteOrder, onProgress: (pages: number, copiedBytes: number) => void): Promise<number> {
    const frozen = this.#frozen
    const taken = this.#pagesTaken()
    const source: MemorySource =
      frozen === undefined ? this.#copy.source() : (address, into) => frozen.read(address, into)
    try {
      return await writeMemory(
        {
          ...{ vmm: this.#vmm, regions: this.#slots, memoryPages: this.#memoryPages },
          ...{ frozen, taken, source, diff: this.#diff },
        },
        order,
        onProgress,
      )
    } finally {
      if (!order.keep) this.#endFrozen()
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
