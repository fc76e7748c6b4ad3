import type { RecordedFaults } from './fault-record.js'
import type { ServedRegion } from './handshake.js'

/** What the server's main thread asks of the thread that answers faults; each gets one answer, in order. */
export type FaultOrder =
  /** The VM's memory is there: answer its faults from now on. Once. */
  | { readonly kind: 'serve'; readonly userfaultfd: number; readonly regions: readonly ServedRegion[] }
  /** Begin a recording, or its next period. Before `serve` it holds from the first fault on. */
  | { readonly kind: 'record'; readonly writes: boolean }
  /** Give what was recorded, and next: go on with it, begin the next period, or end it. */
  | { readonly kind: 'recorded'; readonly next: AfterRecorded }

export const afterRecorded = ['go-on', 'again', 'stop'] as const
export type AfterRecorded = (typeof afterRecorded)[number]

export interface FaultAnswer {
  readonly recorded?: RecordedFaults
  /** The order was refused and changed nothing, but that a refused `record` ends what was recorded before. */
  readonly error?: string
}
