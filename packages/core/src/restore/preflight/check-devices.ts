import { readFileSync } from 'node:fs'
import { readIfKnown } from '../../firecracker/state-file/path-strings.js'
import type { LaunchedMachine } from '../../machine/launched-machine.js'
import type { MachineHandle } from '../../machine/machine-handle.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { LoadableSnapshot } from '../../store/snapshot-types.js'
import { openFileIdentities } from '../../sys/proc.js'
import { checkRegions } from './cheap-checks.js'
import {
  assertLoadedDeclared,
  assertOwnSocket,
  assertStateDeclared,
  type DeviceOverrides,
  declaredDevices,
} from './declared-devices.js'
import { assertPassed } from './snapshot-check.js'

/**
 * Checks for one restore that the snapshot uses only what its config names of this host, and has the memory
 * of its state.
 */
interface DeviceCheck {
  beforeLoad(machine: LaunchedMachine): void
  /** Called with the guest paused, before it has run an instruction. */
  afterLoad(machine: MachineHandle, options: { readonly signal?: AbortSignal | undefined }): Promise<void>
}

/**
 * Undefined if an earlier restore has checked the same state file with the same names. PATH_INVALID if the
 * machine would bind its vsock socket elsewhere on the host, and the caller did not name that path.
 */
export function deviceCheck(
  snapshot: LoadableSnapshot,
  overrides: DeviceOverrides,
  inJail: boolean,
): DeviceCheck | undefined {
  const declared = declaredDevices(snapshot, overrides)
  if (!inJail && overrides.vsockPath === undefined) assertOwnSocket(declared)
  const finding = findingOf(snapshot, overrides)
  if (snapshot.isNoted(finding)) return undefined
  let openBefore: ReadonlySet<string> = new Set()
  return {
    beforeLoad: ({ pid }) => {
      const bytes = readFileSync(snapshot.statePath)
      const state = readIfKnown(bytes)
      if (state !== undefined) assertPassed(checkRegions(state, snapshot.map.pages * pageSizeBytes))
      assertStateDeclared(bytes, declared, state)
      openBefore = openFileIdentities(pid)
    },
    afterLoad: async (machine, options) => {
      await assertLoadedDeclared(machine, await machine.api.vmConfig(options), declared, openBefore)
      snapshot.note(finding)
    },
  }
}

/**
 * The text of the mark for a passed check: the state file has the config's names. If the caller overrode a
 * name, the state's own name was not checked. So the mark says which names were overridden, but not by which
 * values.
 */
function findingOf(
  snapshot: LoadableSnapshot,
  { vsockPath, networkOverrides = {} }: DeviceOverrides,
): string {
  const { disks, vsockPath: socket, taps } = declaredDevices(snapshot, {})
  const unseen = [vsockPath !== undefined, Object.keys(networkOverrides).sort()]
  return JSON.stringify(['devices', 1, disks, socket, taps, unseen])
}
