export const whats = ['on demand', 'sparse', 'bulk', 'bulk-direct'] as const
export type What = (typeof whats)[number]

export const isOnDemand = (what: What): boolean => what === 'on demand' || what === 'sparse'

/** What a client says of a run, or a server of installing everything. */
export interface Touched {
  readonly wrong: number
  readonly pagesPerS?: number
  readonly mibPerS?: number
  readonly p50Us?: number
  readonly p99Us?: number
}

export interface FaultRow {
  readonly what: What
  readonly handler: string
  /** Client and server on the same, or each on its own. */
  readonly cpus: 'one' | 'two'
  readonly round: number
  readonly measured: Touched & {
    /** The share of the layer's pages in the page cache before the run: 0 after a drop that worked. */
    readonly residentBefore: number
  }
}
