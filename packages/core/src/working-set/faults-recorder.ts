import { VarveError } from '../errors.js'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { minus, union } from '../memory/page-set-algebra.js'
import { isAlive } from '../sys/proc.js'
import { type GrowthOptions, GrowthWatch } from './growth-watch.js'
import { checkTarget, pagesOfTarget } from './record-target.js'
import type {
  FaultSource,
  FaultTrace,
  Recorder,
  Recording,
  RecordOptions,
  RecordTarget,
} from './recording.js'
import { checkLimits, type Look, type RecordingSource, runRecording } from './run-recording.js'
import type { WorkingSetGroup } from './working-set.js'

/** Options of `recordFaults`. */
export interface RecordFaultsOptions extends RecordOptions, GrowthOptions {
  /**
   * Record written pages too: a fault more for each page that is read first and written later. Default true.
   */
  readonly writes?: boolean
}

/** As many pages as make a group of the other recorders. */
const defaultGroupPages = 1024
/**
 * A pause between two faults that ends a group. Within one piece of work faults follow each other by what
 * answering one takes, some 0.1 ms from memory and 10 ms from a slow disk. 50 ms without a fault is five
 * times that: the guest computed or waited, and its next page belongs to its next phase.
 */
const pauseUs = 50_000
/** The server keeps everything; looks on the way are for `maxPages` alone, and each takes the whole trace. */
const looksApartPages = 16_384
const pollMs = 50

/**
 * Records which pages a VM touches first, in the order of its faults, and which it writes, as the VM's page
 * server answers them. If it begins before the load, the touched pages are exact; if later, `present` lacks
 * pages that were there already and were only read. A group ends after `rssGrowthPages` pages, or after 50 ms
 * without a fault.
 *
 * For VMs of the `paged` engine only (INVALID_ARGUMENT), and one recording at a time (RECORDER_UNRELIABLE).
 * Written pages can be too few, never too many: a page that was missing when it was written, and then holds
 * what the image holds, counts as read (see `unchanged` of `FaultTrace`). `notes.faults` has the number of
 * such pages, and `exact.written` is true only if there are none; Firecracker's own writes at the load are
 * usually among them. Of a guest whose memory is huge pages, all 512 pages of each one that was touched are
 * present (`notes.faults.unitPages`), and `exact.present` is false. The record is lost if the VM ends.
 */
export async function recordFaults(
  target: RecordTarget,
  options: RecordFaultsOptions = {},
): Promise<Recording> {
  checkTarget(target)
  checkLimits(options)
  const { faults, vmm } = target
  const { writes = true, rssGrowthPages: groupPages = defaultGroupPages, signal } = options
  if (faults === undefined)
    throw new VarveError('INVALID_ARGUMENT', `process ${vmm.pid} has no page server that sees its faults`, {
      remedy: 'restore with the paged engine to record faults',
    })
  const watch = new GrowthWatch(vmm, { rssGrowthPages: Math.max(groupPages, looksApartPages), pollMs })
  const { fromTheFirst } = await faults.record({ writes, signal }).catch(async (error: unknown) => {
    // The server may have begun, and no caller would end it.
    if (signal?.aborted) await faults.recorded({ next: 'stop' }).catch(() => {})
    throw error
  })
  return runRecording(new FaultsSource(target, faults, { watch, writes, groupPages, fromTheFirst }), options)
}

/** The recorder `faults`. */
export const faultsRecorder: Recorder<RecordFaultsOptions> = { name: 'faults', start: recordFaults }

interface Means {
  readonly watch: GrowthWatch
  readonly writes: boolean
  readonly groupPages: number
  readonly fromTheFirst: boolean
}

class FaultsSource implements RecordingSource {
  readonly recorder = 'faults'
  readonly sees: { readonly present: boolean; readonly written: boolean }
  readonly pages: number
  readonly poll: GrowthWatch
  readonly #target: RecordTarget
  readonly #faults: FaultSource
  readonly #means: Means
  /** Faults of the trace that are in groups already. */
  #grouped = 0
  #stopped = false
  #last: FaultTrace | undefined

  constructor(target: RecordTarget, faults: FaultSource, means: Means) {
    this.sees = { present: true, written: means.writes }
    this.pages = pagesOfTarget(target)
    this.poll = means.watch
    this.#target = target
    this.#faults = faults
    this.#means = means
  }

  async look(sinceBegin: () => number, last: boolean): Promise<Look> {
    const found = await this.#recorded(last)
    this.#last = found
    this.poll.looked()
    const touched = this.#newGroups(found)
    // Written, but there before; or touched behind the end of the trace.
    const { written } = found
    const present = written === null ? found.touched : union(found.touched, written)
    touched.push({ atMs: sinceBegin(), set: minus(present, pageSetFromPages(found.pages)) })
    return written === null ? { touched } : { touched, written }
  }

  async #recorded(last: boolean): Promise<FaultTrace> {
    try {
      const found = await this.#faults.recorded({ next: last ? 'stop' : 'go-on' })
      this.#stopped = last
      return found
    } catch (cause) {
      const { pid } = this.#target.vmm
      if (isAlive(this.#target.vmm)) throw cause
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        `process ${pid} has ended, and its page server's recording was lost with it`,
        { remedy: 'stop the recording before the VM', cause },
      )
    }
  }

  #newGroups({ pages, timesUs }: FaultTrace): WorkingSetGroup[] {
    const groups: WorkingSetGroup[] = []
    while (this.#grouped < pages.length) {
      const first = this.#grouped
      const most = Math.min(first + this.#means.groupPages, pages.length)
      let end = first + 1
      while (end < most && (timesUs[end] as number) - (timesUs[end - 1] as number) < pauseUs) end++
      groups.push({
        atMs: Math.floor((timesUs[first] as number) / 1000),
        set: pageSetFromPages(pages.subarray(first, end)),
      })
      this.#grouped = end
    }
    return groups
  }

  describe() {
    const { fromTheFirst, writes } = this.#means
    const { unchanged: same, unitPages = 1 } = this.#last ?? {}
    const unchanged = same?.pages ?? 0
    const units = unitPages === 1 ? {} : { unitPages }
    return {
      exact: { present: fromTheFirst && unitPages === 1, written: writes && unchanged === 0 },
      notes: { faults: { fromTheFirst, unchanged, ordered: this.#last?.pages.length ?? 0, ...units } },
    }
  }

  async close(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    // If the VM has ended, so has the recording.
    await this.#faults.recorded({ next: 'stop' }).catch((error: unknown) => {
      if (isAlive(this.#target.vmm)) throw error
    })
  }
}
