import type { CallOptions } from '../firecracker/api-client.js'
import { MachineHandle } from './machine-handle.js'
import { type SnapshotOptions, type WrittenSnapshot, writeSnapshot } from './write-snapshot.js'

/** A machine whose guest runs. It can be paused; it cannot be snapshotted. */
export class RunningMachine extends MachineHandle {
  /** The state that this handle is of. */
  readonly state = 'running'

  /** Stops the vCPUs. This handle is of no use afterwards; go on with the returned one. */
  pause(options: CallOptions = {}): Promise<PausedMachine> {
    return this.step('pause', 'paused', options, () => this.vm.api.pause(options)).then(
      () => new PausedMachine(this.vm),
    )
  }
}

/** A machine whose vCPUs stand still. It can be snapshotted and resumed. */
export class PausedMachine extends MachineHandle {
  /** The state that this handle is of. */
  readonly state = 'paused'

  /** Starts the vCPUs again. This handle is of no use afterwards; go on with the returned one. */
  resume(options: CallOptions = {}): Promise<RunningMachine> {
    return this.step('resume', 'running', options, () => {
      // Recorded first: after a crash in between, "may have run" is the safe belief.
      this.vm.updateRecord({ ranSince: true, pausedSinceLoad: false })
      return this.vm.api.resume(options)
    }).then(() => new RunningMachine(this.vm))
  }

  /**
   * Has Firecracker write a snapshot (PUT /snapshot/create). The machine stays paused and usable, also after
   * a failure; files of a failed snapshot are removed. Disks are not part of it.
   */
  snapshot(options: SnapshotOptions): Promise<WrittenSnapshot> {
    return this.step('snapshot', 'paused', options, () => writeSnapshot(this.vm, options))
  }
}
