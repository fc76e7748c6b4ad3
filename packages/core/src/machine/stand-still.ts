import { VarveError } from '../errors.js'
import type { CallOptions } from '../firecracker/api-client.js'
import type { LiveVm } from './live-vm.js'
import { type LiveSnapshotOptions, type WrittenLive, writeLive } from './write-live.js'
import { type SnapshotOptions, type WrittenSnapshot, writeSnapshot } from './write-snapshot.js'

/** What can be done with a machine while its guest stands still; of no use afterwards. */
export interface StandingMachine {
  /** Has Firecracker write a snapshot, memory and all. */
  write(options: SnapshotOptions): Promise<WrittenSnapshot>
  /** Has Firecracker write the state, while others take the memory. */
  writeLive(options: LiveSnapshotOptions): Promise<WrittenLive>
  /**
   * Called when the guest runs again (if it does), in the order of the calls, before any other step of the
   * machine, whether or not `run` succeeded: what belongs to the snapshot, and has no need of a guest that
   * stands still.
   */
  afterwards(work: () => Promise<void>): void
}

export interface Stood<T> {
  readonly value: T
  /**
   * From the request to pause to the end of the request to resume, milliseconds; null if it was paused
   * before.
   */
  readonly standstillMs: number | null
}

/** To be called within a step of the VM. */
export async function standStill<T>(
  vm: LiveVm,
  name: string,
  run: (still: StandingMachine) => Promise<T>,
  { signal }: CallOptions,
): Promise<Stood<T>> {
  const call = { signal }
  // Firecracker is asked: another process may have paused the machine.
  const { state } = await vm.api.instanceInfo(call)
  if (state === 'Not started')
    throw new VarveError('MACHINE_STATE', `${name}: ${vm.record.id} has no guest yet`, {
      remedy: 'boot or load first',
    })
  const goesOn = state !== 'Paused'
  const works: (() => Promise<void>)[] = []
  const afterwards = (work: () => Promise<void>) => void works.push(work)
  const still: StandingMachine = {
    write: (options) => writeSnapshot(vm, options, goesOn),
    writeLive: (options) => writeLive(vm, options, goesOn, afterwards),
    afterwards,
  }
  const settle = async () => {
    for (const work of works) await work()
  }
  if (!goesOn) {
    const value = await run(still).catch((error: unknown) => failAfter(settle, error))
    await settle()
    return { value, standstillMs: null }
  }
  const start = performance.now()
  // Without the signal, both: the guest must not stand still because the caller does not wait any more.
  await vm.api.pause()
  let value: T
  try {
    value = await run(still)
  } catch (error) {
    await vm.api.resume()
    return failAfter(settle, error)
  }
  await vm.api.resume()
  const standstillMs = performance.now() - start
  await settle()
  return { value, standstillMs }
}

/** Of two failures the first is told. */
async function failAfter(settle: () => Promise<void>, error: unknown): Promise<never> {
  await settle().catch(() => {})
  throw error
}
