import { setTimeout as sleep } from 'node:timers/promises'
import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { adoptVmm } from '../firecracker/adopt-vmm.js'
import { connectApi } from '../firecracker/api-client.js'
import { killProcess } from '../sys/pidfd.js'
import { runtimeDirectory } from '../usable-runtime.js'
import { forgetDeathNote } from './death-note.js'
import { assertNamedHere, endAndRemove, spared } from './end-machine.js'
import { killJailed } from './jailed-processes.js'
import { LaunchedMachine } from './launched-machine.js'
import { LiveVm, type MachineState } from './live-vm.js'
import { vmmLives } from './machine-life.js'
import { PausedMachine, RunningMachine } from './machine-states.js'
import { findMachine } from './runtime-directory.js'

/** Where to look for a machine. */
export interface FindOptions {
  /** Default: `runtimeDirectory()`. */
  readonly runtimeDirectory?: string
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Finds a machine again that was detached, or that another process has. The handle's type follows the VMM's
 * own word on its state. Who owns the machine stays as it was: a detached one lives on when this process
 * ends. Errors: NOT_FOUND (with the reason, if it was found dead), API_TRANSPORT, INTERRUPTED.
 */
export async function connectMachine(
  id: string,
  options: FindOptions = {},
): Promise<RunningMachine | PausedMachine | LaunchedMachine> {
  const { directory, record } = findMachine(id, options.runtimeDirectory ?? runtimeDirectory())
  assertNamedHere(record)
  const process = adoptVmm(record.process, directory, record.jail ?? undefined)
  const call = { signal: options.signal }
  const api = await connectApi(process.paths.apiSocket, call)
  const { state } = await api.instanceInfo(call).catch((error: unknown) => {
    api[Symbol.dispose]()
    throw error
  })
  const vm = (live: MachineState) => new LiveVm(process, api, record, live)
  if (state === 'Running') return new RunningMachine(vm('running'))
  if (state === 'Paused') return new PausedMachine(vm('paused'))
  return new LaunchedMachine(vm('launched'))
}

/** SIGKILL takes effect within milliseconds, but a VMM with much memory needs a while to give it back. */
const endTimeoutMs = 10_000

/** Ends a recorded machine, whether or not its VMM still answers, and removes what belongs to it. */
export async function stopMachine(id: string, options: FindOptions = {}): Promise<void> {
  const { signal } = options
  const runtime = options.runtimeDirectory ?? runtimeDirectory()
  const { directory, record } = findMachine(id, runtime)
  assertNamedHere(record)
  killProcess(record.process, 'SIGKILL')
  const deadline = performance.now() + endTimeoutMs
  while (vmmLives(directory, record)) {
    if (signal?.aborted) throw abortError(signal, `the wait for the end of ${id}`)
    if (performance.now() > deadline)
      throw new VarveError(
        'TIMEOUT',
        `process ${record.process.pid} of ${id} did not end within ${endTimeoutMs} ms of SIGKILL`,
      )
    // A process that the VMM started in its jail may have inherited the lock by which the VMM lives.
    if (record.jail !== null) killJailed(record.jail.root, spared(record))
    await sleep(2)
  }
  endAndRemove(directory, record)
  // The owner may have seen the VMM's end and noted a death, but this call stopped the machine.
  forgetDeathNote(runtime, record)
}
