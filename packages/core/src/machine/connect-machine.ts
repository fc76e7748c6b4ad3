import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../errors.js'
import { connectApi } from '../firecracker/api-client.js'
import { adoptVmm } from '../firecracker/vmm-process.js'
import { isAlive } from '../sys/proc.js'
import { LaunchedMachine } from './launched-machine.js'
import { LiveVm } from './live-vm.js'
import { PausedMachine } from './paused-machine.js'
import { RunningMachine } from './running-machine.js'
import { endAndRemove, findMachine, runtimeDirectory } from './runtime-directory.js'

export interface FindOptions {
  /** Default: `runtimeDirectory()`. */
  readonly runtimeDirectory?: string
  readonly signal?: AbortSignal
}

/**
 * Finds a detached machine again. The handle's type follows the VMM's own word on its state. The machine stays
 * detached: ending this process does not end it. Errors: NOT_FOUND, API_TRANSPORT, INTERRUPTED.
 */
export async function connectMachine(
  id: string,
  options: FindOptions = {},
): Promise<RunningMachine | PausedMachine | LaunchedMachine> {
  const { directory, record } = findMachine(id, options.runtimeDirectory ?? runtimeDirectory())
  const process = adoptVmm(record.process, directory, record.jail ?? undefined)
  const call = options.signal === undefined ? {} : { signal: options.signal }
  const api = await connectApi(process.paths.apiSocket, call)
  const { state } = await api.instanceInfo(call)
  const vm = (live: LiveVm['state']) => new LiveVm(process, api, { ...record, owner: null }, live)
  if (state === 'Running') return new RunningMachine(vm('running'))
  if (state === 'Paused') return new PausedMachine(vm('paused'))
  return new LaunchedMachine(vm('launched'))
}

/** SIGKILL takes effect within milliseconds, but a VMM with much memory needs a while to give it back. */
const endTimeoutMs = 10_000

/** Ends a recorded machine, whether or not its VMM still answers, and removes what belongs to it. */
export async function stopMachine(id: string, options: FindOptions = {}): Promise<void> {
  const { directory, record } = findMachine(id, options.runtimeDirectory ?? runtimeDirectory())
  endAndRemove(directory, record)
  const deadline = Date.now() + endTimeoutMs
  while (isAlive(record.process)) {
    if (Date.now() > deadline)
      throw new VarveError(
        'TIMEOUT',
        `process ${record.process.pid} of ${id} did not end within ${endTimeoutMs} ms of SIGKILL`,
      )
    await sleep(2, undefined, options.signal === undefined ? {} : { signal: options.signal })
  }
}
