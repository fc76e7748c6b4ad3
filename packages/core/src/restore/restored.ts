import type { PageServer } from '../page-server/client/start-page-server.js'
import type { PrefetchReport } from './prefetch.js'
import type { MachineRecording } from './record-machine.js'
import type { RestoreReport } from './restore-report.js'
import type { RestoreUsage } from './usage/restore-usage.js'

/**
 * Disposing of it ends its recording, without a result, and stops its machine. A machine that was
 * detached lives on.
 */
export interface Restored<Machine> extends AsyncDisposable {
  /** The machine, running or paused. */
  readonly machine: Machine
  /** What the restore did. */
  readonly report: RestoreReport
  /** What came of it by now, see `restoreUsage`. */
  usage(options?: { readonly signal?: AbortSignal | undefined }): Promise<RestoreUsage>
  /** Set if a page server answers the VM's page faults (engine `paged`). */
  readonly pageServer?: PageServer | undefined
  /** Set if a working set was used by an engine that prefetches. Never rejects. */
  readonly prefetching?: Promise<PrefetchReport> | undefined
  /** Set if `record` asked for one. */
  readonly recording?: MachineRecording | undefined
}
