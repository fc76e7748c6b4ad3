import { existsSync, readFileSync, statSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import {
  type ChosenFirecracker,
  describeOrigin,
  type FindBinaryOptions,
  findFirecrackerFor,
} from '../../firecracker/binary.js'
import { inspectStateFile } from '../../firecracker/inspect/inspect-state-file.js'
import { guestCpuid } from '../../firecracker/state-file/guest-cpuid.js'
import { type PathString, pathStrings } from '../../firecracker/state-file/path-strings.js'
import type { StateFile } from '../../firecracker/state-file/read-state-file.js'
import { type FirecrackerVersion, parseFirecrackerVersion } from '../../firecracker/version.js'
import { factsOf } from '../../firecracker/version-facts.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { SnapshotStore } from '../../store/snapshot-store.js'
import type { OpenSnapshot } from '../../store/snapshot-types.js'
import { checkArch, checkHugePages, checkRegions, hugePagesOf } from './cheap-checks.js'
import { assertStateDeclared, declaredDevices } from './declared-devices.js'
import {
  checkClock,
  checkCpu,
  checkCpuFeatures,
  checkDevices,
  checkKernel,
  checkMemory,
  type HostFacts,
  hostFacts,
  passing,
} from './host-checks.js'
import { fail, ok, type SnapshotCheck, warn } from './snapshot-check.js'

/** A snapshot in a store, or files as Firecracker writes them. */
export type SnapshotPlace =
  | {
      /** The store. */
      readonly store: SnapshotStore
      /** The snapshot in it. */
      readonly ref: string
    }
  | {
      /** The state file. */
      readonly statePath: string
      /** The memory file, to check its size. Default: it is not checked. */
      readonly memoryPath?: string | undefined
    }

/** Options of `checkSnapshot`. */
export interface CheckSnapshotOptions extends FindBinaryOptions {
  /** The host to check against. Default: this one. */
  readonly host?: HostFacts
}

/**
 * Checks whether this host can restore a snapshot, without launching anything. Each check has a result and a
 * remedy. A store's snapshot is opened, so its blobs are verified. Errors: those of the store for a reference
 * that does not exist.
 */
export async function checkSnapshot(
  place: SnapshotPlace,
  { host = hostFacts(), ...options }: CheckSnapshotOptions = {},
): Promise<readonly SnapshotCheck[]> {
  if (!('store' in place)) return checkFiles(place.statePath, place.memoryPath, host, options)
  const { store, ref } = place
  const { entry } = await store.describe(ref)
  let snapshot: OpenSnapshot
  try {
    snapshot = await store.open(entry.id, options)
  } catch (error) {
    return [failed('files', error, 'varve fsck says what is wrong, and what to do')]
  }
  await using opened = snapshot
  return [ok('files', `all of ${entry.id} are in the store`), ...(await checkStored(opened, host, options))]
}

async function checkStored(
  snapshot: OpenSnapshot,
  host: HostFacts,
  options: FindBinaryOptions,
): Promise<readonly SnapshotCheck[]> {
  const { config, statePath, map } = snapshot
  const { state, checks } = await checkState(statePath)
  const maker = versionOf(config.firecracker.version)
  const { loader, check: binary } = await checkBinary(maker, options)
  const devices = declaredDevices(snapshot, {})
  return [
    ...checks,
    binary,
    checkArch(state?.arch ?? config.host.arch),
    checkCpu(config.host.cpu, state?.vmInfo.cpuTemplate ?? 'None', host),
    ...cpuFeatures(state, statePath, host),
    checkKernel(config.host.kernel, host),
    checkMemory(map.pages * pageSizeBytes, host),
    checkHugePages(hugePagesOf(config) ?? state?.vmInfo.hugePages, map.pages * pageSizeBytes),
    ...(state === undefined ? [] : [checkRegions(state, map.pages * pageSizeBytes)]),
    ...checkDevices(devices),
    ...(state === undefined
      ? []
      : [
          passing('state-paths', () => {
            const bytes = readFileSync(statePath)
            assertStateDeclared(bytes, devices)
            return pathStrings(bytes) === undefined
              ? 'checked only after the load, before the guest runs: this format of the state file does not show its paths'
              : 'the state file names no path of this host that the config does not name'
          }),
        ]),
    checkClock(config.createdAt, host),
    ...facts(state, {
      maker,
      loader,
      host,
      hasVsock: devices.vsockPath !== null,
      isDiff: config.kind === 'diff',
    }),
  ]
}

async function checkFiles(
  statePath: string,
  memoryPath: string | undefined,
  host: HostFacts,
  options: FindBinaryOptions,
): Promise<readonly SnapshotCheck[]> {
  const { state, checks } = await checkState(statePath)
  if (state === undefined) return checks
  const { format, arch, vmInfo, memoryFileBytes } = state
  // The first and the last release of the series, any of which decides what loads the file.
  const makers = [...format.firecracker.matchAll(/\d+\.\d+(\.\d+)?/g)].map(([text]) => versionOf(text))
  const [maker] = makers
  const { loader, check: binary } = await checkBinary(maker, options)
  const paths = pathStrings(readFileSync(statePath))
  return [
    ...checks,
    binary,
    checkArch(arch),
    checkCpu(null, vmInfo.cpuTemplate, host),
    ...cpuFeatures(state, statePath, host),
    checkKernel(null, host),
    checkMemory(memoryFileBytes, host),
    checkHugePages(vmInfo.hugePages, memoryFileBytes),
    ...(memoryPath === undefined ? [] : [checkMemoryFile(state, memoryPath)]),
    warn(
      'devices',
      devicesText(paths),
      'check that each drive, socket directory and tap of the machine is in its old place',
    ),
    checkClock(null, host),
    // If the state file does not tell, assume the worse case.
    ...factsOfAll(makers, (release) =>
      facts(state, { maker: release, loader, host, hasVsock: true, isDiff: true }),
    ),
  ]
}

/** aarch64 has no CPUID. */
function cpuFeatures(state: StateFile | undefined, path: string, host: HostFacts): SnapshotCheck[] {
  if (state?.arch !== 'x86_64') return []
  return [checkCpuFeatures(guestCpuid(readFileSync(path), state), host)]
}

/** Numbers that look like a text can be among the paths. */
function devicesText(paths: readonly PathString[] | undefined): string {
  if (paths === undefined) return 'drives, vsock and taps: not read from a state file of this format'
  const shown = paths.map(
    ({ path }) => `${path}${path.startsWith('/') && !existsSync(path) ? ' (not here)' : ''}`,
  )
  return `drives, vsock and taps: not read, but the file has these paths: ${shown.join(', ') || 'none'}`
}

/** Only facts that hold for every release that may have taken the snapshot. */
function factsOfAll(
  makers: readonly (FirecrackerVersion | undefined)[],
  ofRelease: (maker: FirecrackerVersion | undefined) => readonly SnapshotCheck[],
): readonly SnapshotCheck[] {
  const [first = [], ...others] = makers.map(ofRelease)
  return first.filter(({ id }) => others.every((checks) => checks.some((it) => it.id === id)))
}

function checkMemoryFile(state: StateFile, path: string): SnapshotCheck {
  try {
    return checkRegions(state, statSync(path).size)
  } catch (cause) {
    const { message } = cause as Error
    return fail('regions', 'NOT_FOUND', `the memory file cannot be read: ${message}`, 'name the right one')
  }
}

async function checkState(path: string) {
  try {
    const state = await inspectStateFile(path)
    const { snapshotVersion, firecracker, encoding, crc64 } = state
    const says = `snapshot version ${snapshotVersion} in ${encoding}, of Firecracker ${firecracker}; CRC-64 ${crc64} is right`
    return { state, checks: [ok('state', says)] }
  } catch (error) {
    return { state: undefined, checks: [failed('state', error, 'take the snapshot again')] }
  }
}

async function checkBinary(maker: FirecrackerVersion | undefined, options: FindBinaryOptions) {
  try {
    const chosen: ChosenFirecracker = await findFirecrackerFor(maker, { ...options, download: false })
    const check = ok('firecracker', `${describeOrigin(chosen.binary)}: ${chosen.reason}`)
    return { loader: chosen.binary.version, check }
  } catch (error) {
    return { loader: undefined, check: failed('firecracker', error, 'set $FIRECRACKER') }
  }
}

function failed(id: string, error: unknown, remedy: string): SnapshotCheck {
  if (!(error instanceof VarveError)) throw error
  return fail(id, error.code, error.message, error.remedy ?? remedy)
}

function versionOf(text: string): FirecrackerVersion | undefined {
  try {
    return parseFirecrackerVersion(/^\d+\.\d+$/.test(text) ? `${text}.0` : text)
  } catch {
    return undefined
  }
}

function facts(
  state: StateFile | undefined,
  about: {
    readonly maker: FirecrackerVersion | undefined
    readonly loader: FirecrackerVersion | undefined
    readonly host: HostFacts
    readonly hasVsock: boolean
    readonly isDiff: boolean
  },
): SnapshotCheck[] {
  if (state === undefined) return []
  const memorySlots = state.regions.reduce((sum, { plugged }) => sum + plugged.length, 0)
  const { host, ...rest } = about
  return factsOf({ ...rest, arch: state.arch, hostKernel: host.kernel, memorySlots }).map(
    ({ id, says, remedy, source }) => ({ ...warn(id, says, remedy), source }),
  )
}
