import type { LaunchedMachine, MemorySource } from '../machine/launched-machine.js'
import type { OpenSnapshot } from '../store/store-types.js'
import type { PageServer } from './page-server/start-page-server.js'

/** What an engine gets to prepare one restore. */
export interface EngineContext {
  readonly snapshot: OpenSnapshot
  /** Launched, nothing loaded yet. Helpers that the engine starts are named to it, so that they end with it. */
  readonly machine: LaunchedMachine
  /** No read-ahead where single pages are to be seen by a recorder. */
  readonly randomAccess: boolean
  /** Times a named part of the restore for the report. */
  phase<T>(name: string, work: () => Promise<T>): Promise<T>
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

export interface EngineSetup {
  readonly memory: MemorySource
  readonly pageServer?: PageServer
}

/**
 * A way to put an image into a Firecracker process. `prepare` makes everything ready for `snapshot/load`; the caller
 * loads, and on any failure stops the machine, which ends the helpers that were named. Layers are never written to.
 */
export interface Engine {
  readonly name: string
  prepare(context: EngineContext): Promise<EngineSetup>
}
