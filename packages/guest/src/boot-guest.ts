import { bootMachine, type LaunchMachineOptions, type MachineSpec } from 'varve'
import { agentPort } from './agent/bounds.js'
import type { FixUp } from './agent/fix-up.js'
import { GuestCatalogue } from './catalogue/guest-catalogue.js'
import { withFiles } from './guests.js'
import { greetGuest } from './lifecycle/greet-guest.js'
import type { Guest } from './lifecycle/guest.js'
import type { HookOptions } from './lifecycle/lifecycle-hook.js'
import { newIdentity } from './lifecycle/new-identity.js'

/** What the spec of a guest's machine can say; the rest comes from the guest. */
export type GuestMachineSpec = Partial<
  Omit<MachineSpec, 'kernel' | 'initrd' | 'rootDisk' | 'bootArgs' | 'guestAgent'>
>

export interface BootGuestOptions extends LaunchMachineOptions {
  /** Default: 256 MiB of memory, one vCPU, a vsock device with the context id 3. */
  readonly machine?: GuestMachineSpec
  /** Added to the guest's kernel command line. */
  readonly append?: string | undefined
  /** Told to the guest once its agent answers: see `newIdentity`. */
  readonly fixUp?: FixUp | undefined
  /** How long the guest may take until its agent answers. Default: 120 s, enough on an emulated host. */
  readonly readyMs?: number | undefined
  /** As in `HookOptions`, for the hook `run`. */
  readonly hookMs?: HookOptions['hookMs']
  /** Where guests are kept. Default: $VARVE_GUESTS, else in the user's data directory. */
  readonly directory?: string | undefined
}

export const guestMachineDefaults = { memoryMib: 256, vcpus: 1, vsockCid: 3 } as const

/**
 * Boots a guest on a private copy of its root disk, which goes with the machine, and waits for its agent.
 * The guest then has a host name and machine id of its own, and has run its hook `run`. Errors: NOT_FOUND
 * (the guest), those of `bootMachine`, TIMEOUT if its agent does not answer in time, and those of a fix-up
 * or hook that fails; the machine has ended then.
 */
export async function bootGuest(name: string, options: BootGuestOptions = {}): Promise<Guest> {
  const { machine: wishes = {}, append, fixUp, readyMs, hookMs, directory, ...launch } = options
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
      guestAgent: { port: agentPort },
    },
    { ...launch, diskDirectory: catalogue.paths.disks },
  )
  return greetGuest(machine, { readyMs, signal, tell: newIdentity(fixUp, { hookMs }) })
}
