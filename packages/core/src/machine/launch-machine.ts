import { randomBytes } from 'node:crypto'
import { type FirecrackerBinary, findFirecracker } from '../firecracker/binary.js'
import { type BinaryPlaces, onlyPlaces } from '../firecracker/binary-places.js'
import { jailCgroups } from '../firecracker/jail-cgroups.js'
import type { JailerOptions } from '../firecracker/jailer.js'
import { launchVmm } from '../firecracker/launch-vmm.js'
import { formatFirecrackerVersion } from '../firecracker/version.js'
import { assertLabels, type Labels } from '../labels.js'
import { onProcessEnd } from '../sys/exit-hooks.js'
import { ownIdentity } from '../sys/holder.js'
import { runtimeDirectory } from '../usable-runtime.js'
import { assertBootable } from './assert-bootable.js'
import { endAndRemove } from './end-machine.js'
import { type BootOptions, LaunchedMachine } from './launched-machine.js'
import { LiveVm } from './live-vm.js'
import { ofThisHost } from './machine-life.js'
import { type MachineRecord, noLeases, writeRecord } from './machine-record.js'
import type { MachineSpec } from './machine-spec.js'
import type { RunningMachine } from './machine-states.js'
import { claimMachineDirectory } from './runtime-directory.js'

/** Options of `launchMachine`, and of all that launches a machine. */
export interface LaunchMachineOptions extends BinaryPlaces {
  /** 1–32 of a–z, 0–9 and '-'. Default: a random name. */
  readonly name?: string | undefined
  /** Default: `findFirecracker()`, with the options `firecracker` and `firecrackerDirectory`. */
  readonly binary?: FirecrackerBinary | undefined
  /** Default: `runtimeDirectory()`. */
  readonly runtimeDirectory?: string | undefined
  /** Kept in the machine's record; `listMachines` can filter by them. Default: none. */
  readonly labels?: Labels | undefined
  /** Start Firecracker by its jailer, in a jail. Default: without one. */
  readonly jailer?: JailerOptions | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Starts a Firecracker process with a private directory of its own. It ends with this process (also on
 * Ctrl-C) unless it is detached. Files that it creates, such as snapshots, are for its user alone (umask
 * 077). To start it so, this process itself has that umask for one or two milliseconds. Errors:
 * BINARY_NOT_FOUND, LAUNCH_FAILED, ALREADY_EXISTS (the name), PATH_INVALID, TIMEOUT.
 */
export async function launchMachine(options: LaunchMachineOptions = {}): Promise<LaunchedMachine> {
  const { signal, jailer } = options
  const labels = assertLabels(options.labels ?? {})
  const binary = options.binary ?? (await binaryFor(options))
  const id = options.name ?? `vm-${randomBytes(4).toString('hex')}`
  let record: MachineRecord = {
    format: 'varve-machine',
    version: 1,
    id,
    createdAt: new Date().toISOString(),
    ...ofThisHost(),
    process: null,
    owner: ownIdentity(),
    firecrackerVersion: formatFirecrackerVersion(binary.version),
    dirtyTracking: false,
    vsockPath: null,
    guestAgent: null,
    jail: null,
    diskDirectory: null,
    leases: noLeases,
    snapshotId: null,
    owed: null,
    frozen: [],
    snapshotsTaken: 0,
    ranSince: false,
    pausedSinceLoad: false,
    origin: { kind: 'boot', from: '' },
    labels,
  }
  const { directory, owner } = claimMachineDirectory(options.runtimeDirectory ?? runtimeDirectory(), record)
  // Until the machine itself does so: Ctrl-C may come before Firecracker has answered.
  const takeBack = onProcessEnd(() => endAndRemove(directory, record))
  try {
    const { process, api } = await launchVmm({
      binary,
      id,
      directory,
      jailer,
      signal,
      onJail: (root) => {
        const jail = jailer === undefined ? null : { root, uid: jailer.uid, gid: jailer.gid }
        record = { ...record, jail }
        writeRecord(directory, record)
      },
      onSpawn: ({ identity }) => {
        record = { ...record, process: identity }
        writeRecord(directory, record)
      },
    })
    if (record.jail !== null && jailer?.cgroups !== undefined) {
      record = { ...record, jail: { ...record.jail, cgroups: jailCgroups(process.identity.pid, id) } }
      writeRecord(directory, record)
    }
    return new LaunchedMachine(new LiveVm(process, api, record, 'launched', owner))
  } catch (error) {
    endAndRemove(directory, record)
    owner.release()
    throw error
  } finally {
    takeBack()
  }
}

const binaryFor = (options: LaunchMachineOptions): Promise<FirecrackerBinary> =>
  findFirecracker({
    ...onlyPlaces(options),
    signal: options.signal,
  })

/**
 * Launches and boots in one step. Errors in `spec` are found before the launch (`assertBootable`):
 * INVALID_ARGUMENT, NOT_FOUND, PATH_INVALID or FORMAT_INVALID, with the field in `details.field`.
 */
export async function bootMachine(
  spec: MachineSpec,
  options: LaunchMachineOptions & BootOptions = {},
): Promise<RunningMachine> {
  const { signal, diskDirectory } = options
  const binary = options.binary ?? (await binaryFor(options))
  assertBootable(spec, binary.version)
  const launched = await launchMachine({
    ...options,
    name: options.name ?? spec.name,
    binary,
  })
  try {
    return await launched.boot(spec, { signal, diskDirectory })
  } catch (error) {
    await launched.stop()
    throw error
  }
}
