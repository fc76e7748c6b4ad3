import type { Image } from '../layer/image-reader.js'
import type { StandingMachine } from '../machine/stand-still.js'
import type { FrozenSource } from '../memory/frozen-source.js'
import type { PageSet } from '../memory/page-set.js'
import type { CaptureWay } from './capture-types.js'

export interface TakenMemory {
  /** `snapshotsTaken` of the machine right after. */
  readonly taken: number
  /** Known when the guest runs again. */
  way(): CaptureWay
}

/** Memory that stands frozen in a process, and is in no file yet. */
export interface FrozenTaking {
  /** The state file as it is now. */
  readonly statePath: string
  readonly source: FrozenSource
  /** Which pages were taken: all others are the parent's, or those of `notCome`, or zero. */
  readonly taken: PageSet
  /** Of a base: the image of the pages that the machine had not got yet. */
  readonly notCome: Image | null
  /** As in `TakeOptions`, with its default. */
  readonly mostCopiedBytes: number
}

/** One way to get a machine's state and memory into the files of a staging. */
export interface MemoryTaker extends AsyncDisposable {
  /** While the guest stands still. */
  take(still: StandingMachine): Promise<TakenMemory>
  /** After that, if a process holds the memory; MACHINE_STATE if none does. */
  describe(): Promise<FrozenTaking>
  /** Disposes of it; what its work needs may wait for the next capture. */
  release?(): Promise<void>
  /** While the guest may run: completes the files. */
  finish(options: {
    /** Whether the frozen memory stays until this is disposed of. */
    readonly keep?: boolean | undefined
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: ((pages: number) => void) | undefined
  }): Promise<void>
}
