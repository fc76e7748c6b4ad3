import type { PageSet } from '../memory/page-set.js'

/** What a recorder learned: pages of the image, by the image's numbering. A hint: it may hold too many pages. */
export interface RecordedPages {
  /** Every page that was touched. */
  readonly present: PageSet
  /** `present` in the order of first touch, as coarse groups: disjoint, none empty, together `present`. */
  readonly groups: readonly PageSet[]
  /** How often the recorder looked. */
  readonly scans: number
}

/**
 * A recording under way. `stop` ends it and may be called once; disposing ends it without a result, any number of times.
 * An error met while recording, or an abort, is thrown by the next call.
 */
export interface Recording extends AsyncDisposable {
  /** Scans so far. */
  readonly scans: number
  /** Looks now: what was touched since the last look becomes a group of its own. */
  scan(): void
  /** Looks a last time and gives what was recorded. */
  stop(): Promise<RecordedPages>
}
