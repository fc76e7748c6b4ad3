import { bootMachine, type LaunchMachineOptions, type MachineSpec, type RunningMachine } from 'varve'
import type { FixUp } from './agent/fix-up.js'
import { type GuestAgent, guestAgent } from './agent/guest-agent.js'
import { newIdentity } from './agent/new-identity.js'
import { GuestCatalogue } from './catalogue/guest-catalogue.js'
import { withFiles } from './guests.js'

/** What the spec of a guest's machine can say; the rest comes from the guest. */
export type GuestMachineSpec = Partial<Omit<MachineSpec, 'kernel' | 'initrd' | 'rootDisk' | 'bootArgs'>>

export interface BootGuestOptions extends LaunchMachineOptions {
  /** Default: 256 MiB of memory, one vCPU, a vsock device with the context id 3. */
  readonly machine?: GuestMachineSpec
  /** Added to the guest's kernel command line. */
  readonly append?: string | undefined
  /** Told to the guest once its agent answers: see `newIdentity`. */
  readonly fixUp?: FixUp | undefined
  /** How long the guest may take until its agent answers. Default: 120 s, enough on an emulated host. */
  readonly readyMs?: number
  /** Where guests are kept. Default: $VARVE_GUESTS, else in the user's data directory. */
  readonly directory?: string | undefined
}

/** A machine that runs a guest, with what its agent can do. Disposed of, the machine ends. */
export interface BootedGuest extends GuestAgent, AsyncDisposable {
  readonly machine: RunningMachine
}

export const guestMachineDefaults = { memoryMib: 256, vcpus: 1, vsockCid: 3 } as const

/**
 * Boots a guest on a private copy of its root disk, which goes with the machine, and waits for its agent.
 * The guest then has a host name and machine id of its own. Errors: NOT_FOUND (the guest), those of
 * `bootMachine`, and TIMEOUT if its agent does not answer in time; the machine has ended then.
 */
export async function bootGuest(name: string, options: BootGuestOptions = {}): Promise<BootedGuest> {
  const { machine: wishes = {}, append, fixUp, readyMs = 120_000, directory, ...launch } = options
  const { signal } = launch
  const catalogue = await GuestCatalogue.open({ directory })
  const { files, bootArgs } = withFiles(catalogue, catalogue.get(name))
  const machine = await bootMachine(
    {
      ...guestMachineDefaults,
      ...wishes,
      kernel: files.kernel,
      initrd: files.initrd,
      bootArgs: append === undefined ? bootArgs : `${bootArgs} ${append}`,
      rootDisk: { path: files.rootDisk, copy: true },
    },
    { ...launch, diskDirectory: catalogue.paths.disks },
  )
  try {
    const agent = guestAgent(machine)
    await agent.ping({ timeoutMs: readyMs, signal })
    await newIdentity(fixUp)(machine, { clone: null, signal })
    return { ...agent, machine, [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose]() }
  } catch (error) {
    await machine.stop()
    throw error
  }
}
