import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { emptyPageSet, type PageSet } from '../memory/page-set.js'
import { minus, union } from '../memory/page-set-algebra.js'
import type { RecordedPages, RecorderName, Recording, RecordingEnd, RecordOptions } from './recording.js'
import { maxGroups, type WorkingSetGroup } from './working-set.js'

/** A minute of a function's life; FaaSnap's and REAP's functions answer within seconds. */
const defaultMaxMs = 60_000
/** 4 GiB of guest memory. */
const defaultMaxPages = 1024 * 1024
const defaultWarnShare = 0.5
/** setTimeout's own limit. */
const longestTimerMs = 2 ** 31 - 1

/** What one look found. Pages that were found before may be among them. */
export interface Look {
  /** In the order of first touch, as far as it is known. */
  readonly touched: readonly WorkingSetGroup[]
  readonly written?: PageSet
  /** The recorder can learn no more. */
  readonly ended?: RecordingEnd
}

/** The part of a recorder that differs: how to look, and when. */
export interface RecordingSource {
  readonly recorder: RecorderName
  readonly sees: { readonly present: boolean; readonly written: boolean }
  /** Pages of the image. */
  readonly pages: number
  /** `sinceBegin` gives the time for groups. `last`: there will be no other look. */
  look(sinceBegin: () => number, last: boolean): Look | Promise<Look>
  /** Asked every so often whether a look is due. */
  readonly poll?: { readonly everyMs: number; due(): boolean }
  /** Asked once, after the last look. `warning`: why this recorder's pages may be wrong, in one sentence. */
  describe(): Pick<RecordedPages, 'exact' | 'notes'> & { readonly warning?: string }
  /** Releases what the source holds. Called once. */
  close(): void | Promise<void>
}

/**
 * Runs a recorder's looks one after the other, within the limits, until it ends.
 * On failure the source is closed.
 */
export function runRecording(source: RecordingSource, options: RecordOptions): Recording {
  return new RunningRecording(source, options)
}

/** INVALID_ARGUMENT for limits that make no sense; to be called before anything is begun. */
export function checkLimits({
  maxMs = defaultMaxMs,
  maxPages = defaultMaxPages,
  warnShare = defaultWarnShare,
}: RecordOptions): void {
  const refuse = (what: string) => {
    throw new VarveError('INVALID_ARGUMENT', what)
  }
  if (!(maxMs >= 1 && (maxMs <= longestTimerMs || maxMs === Number.POSITIVE_INFINITY)))
    refuse(`maxMs ${maxMs} is not from 1 to ${longestTimerMs}, or Infinity`)
  if (!(maxPages >= 1)) refuse(`maxPages ${maxPages} is not 1 or more`)
  if (!(warnShare > 0 && warnShare <= 1)) refuse(`warnShare ${warnShare} is not above 0 and at most 1`)
}

class RunningRecording implements Recording {
  scans = 0
  endedBy: RecordingEnd | undefined
  readonly #source: RecordingSource
  readonly #options: RecordOptions
  readonly #recordedAtMs = Date.now()
  readonly #begin = performance.now()
  readonly #groups: WorkingSetGroup[] = []
  #present: PageSet = emptyPageSet
  #written: PageSet = emptyPageSet
  /** Looks and the end come one after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  #busy = false
  #failure: unknown
  #result: RecordedPages | undefined
  #closed: Promise<void> | undefined
  #stopped = false
  readonly #interval: NodeJS.Timeout | undefined
  readonly #timeout: NodeJS.Timeout | undefined

  constructor(source: RecordingSource, options: RecordOptions) {
    this.#source = source
    this.#options = options
    const { maxMs = defaultMaxMs, signal } = options
    if (source.poll !== undefined) this.#interval = setInterval(this.#poll, source.poll.everyMs)
    if (maxMs <= longestTimerMs) this.#timeout = setTimeout(() => this.#inBackground('time'), maxMs)
    signal?.addEventListener('abort', this.#onAbort)
    if (signal?.aborted === true) this.#onAbort()
  }

  get recorder(): RecorderName {
    return this.#source.recorder
  }

  readonly #sinceBegin = (): number => Math.floor(performance.now() - this.#begin)

  readonly #poll = (): void => {
    if (this.#busy) return
    try {
      if (this.#source.poll?.due() === true) this.#inBackground(undefined)
    } catch (error) {
      this.#fail(error)
    }
  }

  readonly #onAbort = (): void => {
    this.#fail(abortError(this.#options.signal, 'work on the recording'))
  }

  /** The first failure ends the recording; the next call throws it. */
  #fail(error: unknown): void {
    if (this.#result !== undefined || this.#closed !== undefined) return
    this.#failure ??= error
    this.#stopTimers()
    // After a look that is under way, which uses what is closed.
    void this.#exclusive(() => this.#close()).catch(() => {})
  }

  /** It is not awaited, so its error waits for the next call. */
  #inBackground(end: RecordingEnd | undefined): void {
    this.#busy = true
    this.#exclusive(() => this.#look(end))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#busy = false
      })
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => {})
    return result
  }

  /** One look, and the end if it was the last. */
  async #look(end: RecordingEnd | undefined): Promise<void> {
    if (this.#result !== undefined || this.#closed !== undefined) return
    const { touched, written, ended } = await this.#source.look(this.#sinceBegin, end !== undefined)
    if (this.#failure !== undefined) throw this.#failure
    this.scans++
    for (const group of touched) this.#add(group)
    if (written !== undefined) this.#written = union(this.#written, written)
    const { maxPages = defaultMaxPages } = this.#options
    const found = Math.max(this.#present.pages, this.#written.pages)
    const reason = ended ?? end ?? (found >= maxPages ? 'pages' : undefined)
    if (reason !== undefined) await this.#finish(reason)
  }

  #add({ atMs, set }: WorkingSetGroup): void {
    const fresh = minus(set, this.#present)
    if (fresh.pages === 0) return
    this.#present = union(this.#present, fresh)
    const last = this.#groups.at(-1)
    if (last !== undefined && this.#groups.length === maxGroups)
      this.#groups[maxGroups - 1] = { atMs: last.atMs, set: union(last.set, fresh) }
    else this.#groups.push({ atMs: Math.max(atMs, last?.atMs ?? 0), set: fresh })
  }

  async #finish(endedBy: RecordingEnd): Promise<void> {
    const { recorder, sees, pages } = this.#source
    const { exact, notes, warning } = this.#source.describe()
    const { warnShare = defaultWarnShare } = this.#options
    const found = Math.max(this.#present.pages, this.#written.pages)
    const share = found / pages
    const tooLarge =
      share > warnShare
        ? `the set holds ${found} of the image's ${pages} pages (${Math.round(share * 100)} %): a restore gains little from it`
        : undefined
    this.endedBy = endedBy
    this.#result = {
      recorder,
      present: sees.present ? this.#present : null,
      written: sees.written ? this.#written : null,
      groups: this.#groups,
      exact,
      recordedAtMs: this.#recordedAtMs,
      windowMs: this.#sinceBegin(),
      endedBy,
      scans: this.scans,
      warning: [warning, tooLarge].filter((it) => it !== undefined).join('. ') || null,
      notes,
    }
    await this.#close()
  }

  #stopTimers(): void {
    clearInterval(this.#interval)
    clearTimeout(this.#timeout)
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
  }

  #close(): Promise<void> {
    this.#stopTimers()
    // An async function, so that what `close` throws is a rejection too.
    this.#closed ??= (async () => this.#source.close())()
    return this.#closed
  }

  scan(): Promise<void> {
    return this.#exclusive(async () => {
      this.#assertGoing()
      await this.#look(undefined)
    })
  }

  stop(): Promise<RecordedPages> {
    return this.#exclusive(async () => {
      this.#assertGoing(() => {
        this.#stopped = true
      })
      try {
        await this.#look('stop')
        if (this.#result === undefined) throw ended()
        return this.#result
      } finally {
        await this.#close()
      }
    })
  }

  #assertGoing(before = () => {}): void {
    if (this.#stopped) throw ended()
    before()
    if (this.#failure !== undefined) throw this.#failure
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    await this.#exclusive(() => this.#close())
  }
}

const ended = () => new VarveError('MACHINE_STATE', 'this recording has ended')
