import type { Outcome } from './action.js'
import type { ActionName } from './actions.js'

/** In the first argument of a worker, as JSON. */
export interface WorkerOrder {
  /** Of the run. */
  readonly directory: string
  readonly id: string
  readonly seed: string
  /** The actions that it may choose. */
  readonly only: readonly string[]
}

/** An action that has ended, as the log has it. */
export interface DoneLine extends Outcome, Judged {
  readonly op: string
  readonly action: ActionName
  readonly ms: number
}

export interface Judged {
  readonly ok: boolean
  /** Of a failure. */
  readonly code?: string
  /** Why the failure is right. */
  readonly why?: string
  /** A failure of the run. */
  readonly error?: string
}

/** What a worker tells the process that started it. */
export type WorkerMessage =
  | { readonly type: 'did'; readonly line: DoneLine }
  /** `leaked`: a line for each kind of descriptor that was left open. */
  | { readonly type: 'ended'; readonly leaked: readonly string[] }
