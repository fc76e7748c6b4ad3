import type { CallOptions } from '../firecracker/api-client.js'
import { MachineHandle } from './machine-handle.js'
import { PausedMachine } from './paused-machine.js'

/** A machine whose guest runs. It can be paused; it cannot be snapshotted. */
export class RunningMachine extends MachineHandle {
  readonly state = 'running'

  /** Stops the vCPUs. This handle is of no use afterwards; go on with the returned one. */
  pause(options: CallOptions = {}): Promise<PausedMachine> {
    return this.step('pause', 'paused', options, () => this.vm.api.pause(options)).then(
      () => new PausedMachine(this.vm),
    )
  }
}
