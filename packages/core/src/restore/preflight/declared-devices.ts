import { statSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import type { FullVmConfiguration } from '../../firecracker/api-types.js'
import { pathStrings, readIfKnown } from '../../firecracker/state-file/path-strings.js'
import type { StateFile } from '../../firecracker/state-file/read-state-file.js'
import type { MachineHandle } from '../../machine/machine-handle.js'
import type { DiskConfig, LoadableSnapshot } from '../../store/snapshot-types.js'
import { openFiles } from '../../sys/open-files.js'
import { fileIdentity } from '../../sys/proc.js'

/** The files and devices of the host that a snapshot's config names. */
export interface DeclaredDevices {
  readonly snapshot: string
  readonly disks: readonly DiskConfig[]
  readonly vsockPath: string | null
  /** Tap devices, by interface id. */
  readonly taps: Readonly<Record<string, string>>
}

/** The caller's replacements for names in the config. */
export interface DeviceOverrides {
  readonly vsockPath?: string | undefined
  readonly networkOverrides?: Readonly<Record<string, string>> | undefined
}

export function declaredDevices(
  { entry, config }: Pick<LoadableSnapshot, 'entry' | 'config'>,
  { vsockPath, networkOverrides }: DeviceOverrides,
): DeclaredDevices {
  const { vsock, 'network-interfaces': interfaces } = config.machine
  const text = (of: unknown, key: string) => {
    const value = (of as Record<string, unknown> | null | undefined)?.[key]
    return typeof value === 'string' ? value : undefined
  }
  const taps = (Array.isArray(interfaces) ? interfaces : []).flatMap((it: unknown) => {
    const [id, name] = [text(it, 'iface_id'), text(it, 'host_dev_name')]
    return id === undefined || name === undefined ? [] : [[id, name] as const]
  })
  return {
    snapshot: entry.id,
    disks: config.disks,
    vsockPath: vsockPath ?? text(vsock, 'uds_path') ?? null,
    taps: { ...Object.fromEntries(taps), ...networkOverrides },
  }
}

/**
 * Refuses a vsock socket outside of the VM's own directory (PATH_INVALID). Firecracker would make it there,
 * and the guest could connect to every socket of the host whose path is this path with `_` and a number
 * (Firecracker's docs/vsock.md).
 */
export function assertOwnSocket({ snapshot, vsockPath }: DeclaredDevices): void {
  if (vsockPath?.includes('/') !== true) return
  throw new VarveError(
    'PATH_INVALID',
    `snapshot ${snapshot} has its vsock socket at ${JSON.stringify(vsockPath)}, outside of the VM’s own directory`,
    {
      remedy:
        'if you want the socket there, pass that path as vsockPath (with Firecracker 1.16 any path); or restore in a jail',
      details: { path: vsockPath },
    },
  )
}

/**
 * Before the load: refuses a state file that has a path that the config does not name (IMAGE_MISMATCH), so
 * that Firecracker never opens it. Checks nothing if the format does not show paths (`pathStrings`).
 */
export function assertStateDeclared(
  stateFile: Buffer,
  declared: DeclaredDevices,
  state: StateFile | undefined = readIfKnown(stateFile),
): void {
  const { disks, vsockPath, taps } = declared
  const known = new Set([...disks.map(({ file }) => file), vsockPath, ...Object.values(taps)])
  for (const { path, offset } of pathStrings(stateFile, state) ?? [])
    if (!known.has(path))
      throw notDeclared(declared, `its state names ${JSON.stringify(path)} at byte ${offset}`, {
        path,
        offset,
      })
}

/**
 * After the load and before the guest runs: refuses a machine that has loaded a drive, pmem device, vsock
 * socket or tap device that the config does not name (IMAGE_MISMATCH), by Firecracker's own answer and by the
 * files that it has open for writing.
 */
export async function assertLoadedDeclared(
  machine: Pick<MachineHandle, 'pid' | 'files'>,
  config: FullVmConfiguration,
  declared: DeclaredDevices,
  openBefore: ReadonlySet<string>,
): Promise<void> {
  const problem =
    otherDisk(config, declared) ??
    otherSocketOrTap(config, declared) ??
    (await otherFile(machine, declared, openBefore))
  if (problem !== undefined) throw notDeclared(declared, problem)
}

function otherDisk(config: FullVmConfiguration, { disks }: DeclaredDevices): string | undefined {
  const loaded = [
    ...(config.drives ?? []).map((it) => ({
      what: `drive ${it.drive_id}`,
      id: it.drive_id,
      file: it.path_on_host,
      readOnly: it.is_read_only,
    })),
    ...(config.pmem ?? []).map((it) => ({
      what: `pmem ${it.id}`,
      id: it.id,
      file: it.path_on_host,
      readOnly: it.read_only,
    })),
  ]
  for (const { what, id, file, readOnly } of loaded) {
    const own = disks.find(({ drive }) => drive === id)
    if (own === undefined) return `its state has ${what}, on ${JSON.stringify(file)}`
    if (own.file !== file)
      return `its state has ${what} on ${JSON.stringify(file)}, not on ${JSON.stringify(own.file)}`
    if (own.readOnly && readOnly !== true) return `its state has ${what} for writing, not read-only`
  }
  return undefined
}

function otherSocketOrTap(
  config: FullVmConfiguration,
  { vsockPath, taps }: DeclaredDevices,
): string | undefined {
  const socket = config.vsock?.uds_path ?? null
  if (socket !== null && socket !== vsockPath)
    return `its state has the vsock socket ${JSON.stringify(socket)}, not ${JSON.stringify(vsockPath)}`
  for (const { iface_id: id, host_dev_name: tap } of config['network-interfaces'] ?? [])
    if (!Object.hasOwn(taps, id) || taps[id] !== tap)
      return `its state has interface ${id} on tap device ${JSON.stringify(tap)}, not on ${JSON.stringify(taps[id] ?? null)}`
  return undefined
}

/** A file that is open for a device which Firecracker's answer leaves out. */
async function otherFile(
  { pid, files }: Pick<MachineHandle, 'pid' | 'files'>,
  { disks, taps }: DeclaredDevices,
  openBefore: ReadonlySet<string>,
): Promise<string | undefined> {
  const writable = new Set<string>()
  for (const { file, readOnly } of disks) {
    const path = readOnly ? undefined : await files.locate(file)
    if (path !== undefined) writable.add(fileIdentity(statSync(path, { bigint: true })))
  }
  const names = new Set(Object.values(taps))
  for (const { identity, target, writes, tap, device } of openFiles(pid)) {
    if (!writes || openBefore.has(identity) || writable.has(identity) || device === '/dev/kvm') continue
    if (device === '/dev/net/tun' && tap !== undefined && names.has(tap)) continue
    return `Firecracker has ${tap === undefined ? target : `tap device ${tap}`} open for writing`
  }
  return undefined
}

function notDeclared(
  { snapshot }: DeclaredDevices,
  problem: string,
  details: Readonly<Record<string, unknown>> = {},
): VarveError {
  return new VarveError(
    'IMAGE_MISMATCH',
    `snapshot ${snapshot} opens something of this host that its config does not name: ${problem}`,
    {
      remedy: 'do not use this snapshot: its state file was changed; if you must run it, run it in a jail',
      details,
    },
  )
}
