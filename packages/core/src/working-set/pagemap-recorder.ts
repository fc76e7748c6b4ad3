import { type BigIntStats, statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { emptyPageSet, type PageSet } from '../memory/page-set.js'
import { minus, union } from '../memory/page-set-algebra.js'
import { RunBuilder } from '../memory/run-builder.js'
import { pageSizeBytes } from '../memory/units.js'
import { pathError } from '../not-found.js'
import { type FaultAround, holdFaultAround } from '../sys/fault-around.js'
import { isMappingOf, type Mapping, mappingsOf } from '../sys/mappings.js'
import { Pagemap } from '../sys/pagemap.js'
import { type GrowthOptions, GrowthWatch } from './growth-watch.js'
import { checkTarget, pagesOfTarget } from './record-target.js'
import type { Recorder, Recording, RecordOptions, RecordTarget } from './recording.js'
import { checkLimits, type Look, type RecordingSource, runRecording } from './run-recording.js'
import type { Json } from './working-set.js'

/** Options of `recordPagemap`. */
export interface RecordPagemapOptions extends RecordOptions, GrowthOptions {
  /**
   * Have the kernel map one page per read fault while this records, if that can be set: a setting of the
   * whole host, put back afterwards. Default true.
   */
  readonly holdFaultAround?: boolean
}

/**
 * Records which pages of a flat memory file a VMM has mapped (/proc/PID/pagemap): a page of the file itself
 * was read, a private copy was written. It tells of this VM alone, even if others have the file, and of
 * everything since the VM was loaded, also if the recording began later. What was mapped around the pages
 * that were read is in `present`; `notes.faultAround` says whether that could be kept from happening, and
 * else how many pages it can be, why, and what to do; so does `warning`. No cache is dropped.
 *
 * For VMs on file memory only. RECORDER_UNRELIABLE with a target of layers (pages that a page server put
 * there look written, all of them; if the `mapped` engine mapped them, zero pages that were read do, and
 * pages that it prefaulted look touched), and at the end if the VMM does not map the file. Needs the rights
 * of ptrace(2) over the VMM.
 */
export async function recordPagemap(
  target: RecordTarget,
  options: RecordPagemapOptions = {},
): Promise<Recording> {
  checkTarget(target)
  checkLimits(options)
  const [file] = target.files
  if (target.map !== undefined || file === undefined)
    throw new VarveError(
      'RECORDER_UNRELIABLE',
      `the memory of process ${target.vmm.pid} comes from layers: pages that a page server put there look written, and so do zeros that were only read where layers are mapped`,
      { remedy: 'restore with the file engine to record by pagemap' },
    )
  const source = openSource(target, file.path, options)
  const recording = runRecording(source, options)
  try {
    // What is there already becomes a group of its own.
    if (source.beginsLate()) await recording.scan()
    return recording
  } catch (error) {
    await recording[Symbol.asyncDispose]()
    throw error
  }
}

function openSource(target: RecordTarget, path: string, options: RecordPagemapOptions): PagemapSource {
  const stat = statOf(path)
  const pagemap = new Pagemap(target.vmm.pid)
  try {
    // After the pagemap was opened, which is another process's if this pid was given again.
    const watch = new GrowthWatch(target.vmm, options)
    const faultAround = options.holdFaultAround === false ? undefined : holdFaultAround()
    return new PagemapSource(target, { path, stat }, { pagemap, watch, faultAround })
  } catch (error) {
    pagemap[Symbol.dispose]()
    throw error
  }
}

/** The recorder `pagemap`. */
export const pagemapRecorder: Recorder<RecordPagemapOptions> = { name: 'pagemap', start: recordPagemap }

function statOf(path: string): BigIntStats {
  try {
    return statSync(path, { bigint: true })
  } catch (error) {
    throw pathError(error, `cannot use memory file ${path}: ${(error as Error).message}`, {
      details: { path },
    })
  }
}

interface Means {
  readonly pagemap: Pagemap
  readonly watch: GrowthWatch
  /** Undefined: left alone, on request. */
  readonly faultAround: FaultAround | undefined
}

/** Linux's default, for where it was not looked at. */
const usualFaultAroundBytes = 65_536

class PagemapSource implements RecordingSource {
  readonly recorder = 'pagemap'
  readonly sees = { present: true, written: true }
  readonly pages: number
  readonly poll: GrowthWatch
  readonly #target: RecordTarget
  readonly #file: { readonly path: string; readonly stat: BigIntStats }
  readonly #means: Means
  #mappings: readonly Mapping[] = []
  /**
   * Read pages that were there when the recording began, and so were mapped with any
   * fault-around; null: not known yet.
   */
  #readBefore: number | null = 0
  #tooManyAtMost = 0
  #foundPages = 0
  #vmmEnded = false

  constructor(
    target: RecordTarget,
    file: { readonly path: string; readonly stat: BigIntStats },
    means: Means,
  ) {
    this.pages = pagesOfTarget(target)
    this.poll = means.watch
    this.#target = target
    this.#file = file
    this.#means = means
  }

  /**
   * Where the file lies in the VMM, by the file's order; found once, as
   * Firecracker maps it once, at the load.
   */
  #isMapped(): boolean {
    if (this.#mappings.length === 0) {
      const { path, stat } = this.#file
      this.#mappings = mappingsOf(this.#target.vmm.pid)
        .filter((mapping) => mapping.private && isMappingOf(mapping, path, stat))
        .sort((a, b) => a.offsetBytes - b.offsetBytes)
    }
    return this.#mappings.length > 0
  }

  /** To be asked first. */
  beginsLate(): boolean {
    if (!this.#isMapped()) return false
    this.#readBefore = null
    return true
  }

  look(sinceBegin: () => number, last: boolean): Look {
    // Before the pages: what is seen then is of a VMM that was there.
    this.#vmmEnded = this.poll.hasEnded()
    if (!this.#isMapped() && last && !this.#vmmEnded)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        `process ${this.#target.vmm.pid} does not map ${this.#file.path} as its memory`,
        { remedy: 'restore with the file engine, from the file that is named to the recorder' },
      )
    const { read, written } = this.#pagesNow()
    this.#readBefore ??= read.pages
    this.poll.looked()
    return {
      touched: [{ atMs: sinceBegin(), set: union(read, written) }],
      written,
      ...(this.#vmmEnded ? { ended: 'vmm' as const } : {}),
    }
  }

  #pagesNow(): { readonly read: PageSet; readonly written: PageSet } {
    const { pagemap, faultAround } = this.#means
    const windowBytes = faultAround?.bytes ?? usualFaultAroundBytes
    let [read, written] = [emptyPageSet, emptyPageSet]
    let tooMany = 0
    for (const mapping of this.#mappings) {
      const runs = { file: new RunBuilder(), anonymous: new RunBuilder() }
      // The kernel maps around a fault within aligned addresses (do_fault_around in mm/memory.c).
      const windows = { file: new RunBuilder(), anonymous: new RunBuilder() }
      const base = Math.floor(mapping.start / windowBytes)
      pagemap.forEachRun(mapping.start, mapping.end, (start, end, kind) => {
        runs[kind].add(
          (mapping.offsetBytes + start - mapping.start) / pageSizeBytes,
          (end - start) / pageSizeBytes,
        )
        const window = Math.floor(start / windowBytes)
        windows[kind].add(window - base, Math.floor((end - 1) / windowBytes) - window + 1)
      })
      const file = runs.file.finish()
      // In a window without a written page at least one page was read. In the others the one that faulted may
      // have been written since.
      tooMany += file.pages - minus(windows.file.finish(), windows.anonymous.finish()).pages
      read = union(read, file)
      written = union(written, runs.anonymous.finish())
    }
    if (!this.#vmmEnded) [this.#tooManyAtMost, this.#foundPages] = [tooMany, read.pages + written.pages]
    return { read, written }
  }

  describe() {
    const { pagemap, faultAround } = this.#means
    const held = faultAround?.held === true
    const around: Record<string, Json> = held
      ? { bytes: pageSizeBytes, held, readBefore: this.#readBefore }
      : {
          bytes: faultAround?.bytes ?? usualFaultAroundBytes,
          held,
          reason: faultAround?.reason ?? 'left alone, as asked for',
          ...(faultAround?.remedy === undefined ? {} : { remedy: faultAround.remedy }),
          tooManyAtMost: this.#tooManyAtMost,
        }
    return {
      // What an ended VMM did after the last look was not seen.
      exact: { present: held && this.#readBefore === 0 && !this.#vmmEnded, written: !this.#vmmEnded },
      notes: { pagemap: pagemap.way, faultAround: around },
      ...this.#warning(),
    }
  }

  /** Where fault-around was to be held and could not be, and pages were mapped around others. */
  #warning(): { readonly warning?: string } {
    const { faultAround } = this.#means
    if (faultAround === undefined || faultAround.held || this.#tooManyAtMost === 0) return {}
    const [most, found] = [this.#tooManyAtMost, this.#foundPages].map((it) => it.toLocaleString('en-US'))
    return {
      warning: `up to ${most} of the ${found} pages found may not have been touched, only mapped with a touched neighbour: fault_around_bytes is ${faultAround.bytes} and could not be held at one page, because ${faultAround.reason}; ${faultAround.remedy}`,
    }
  }

  close(): void {
    const { pagemap, faultAround } = this.#means
    pagemap[Symbol.dispose]()
    faultAround?.[Symbol.dispose]()
  }
}
