import type { AfterRecorded } from '../../working-set/recording.js'
import type { RecordedFaults } from './fault-record.js'
import type { ServedRegion } from './handshake.js'

/** What the server's main thread asks of the thread that answers faults; each gets one answer, in order. */
export type FaultOrder =
  /** The VM's memory is there: answer its faults from now on. Once. */
  | { readonly kind: 'serve'; readonly userfaultfd: number; readonly regions: readonly ServedRegion[] }
  /** Begin a recording; refused while one is on. Before `serve` it holds from the first fault on. */
  | { readonly kind: 'record'; readonly writes: boolean }
  /** Give what was recorded, and next: go on with it, begin the next period, or end it. */
  | { readonly kind: 'recorded'; readonly next: AfterRecorded }

export const afterRecorded: readonly AfterRecorded[] = ['go-on', 'again', 'stop']

export interface FaultAnswer {
  readonly recorded?: RecordedFaults
  /** Of `record`: no page was there yet. */
  readonly fromTheFirst?: boolean
  /** The order was refused. A next period that was refused ends the recording; nothing else is changed. */
  readonly error?: string
}
