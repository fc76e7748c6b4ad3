import type { StandingMachine } from '../machine/stand-still.js'
import type { CaptureWay } from './capture-types.js'

export interface TakenMemory {
  /** `snapshotsTaken` of the machine right after. */
  readonly taken: number
  readonly way: CaptureWay
}

/** One way to get a machine's state and memory into the files of a staging. */
export interface MemoryTaker extends AsyncDisposable {
  /** While the guest stands still. */
  take(still: StandingMachine): Promise<TakenMemory>
  /** While the guest may run: completes the files. */
  finish(options: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: ((pages: number) => void) | undefined
  }): Promise<void>
}
