import { isVarveError } from '../errors.js'
import {
  assertLoads,
  type BinaryOrigin,
  type FirecrackerBinary,
  findFirecrackerFor,
} from '../firecracker/binary.js'
import { type BinaryPlaces, onlyPlaces } from '../firecracker/binary-places.js'
import { inspectStateFile } from '../firecracker/inspect/inspect-state-file.js'
import {
  type FirecrackerVersion,
  formatFirecrackerVersion,
  parseFirecrackerVersion,
} from '../firecracker/version.js'
import type { LaunchedMachine } from '../machine/launched-machine.js'
import { pageSizeBytes } from '../memory/units.js'
import type { SnapshotStore } from '../store/snapshot-store.js'
import type { SnapshotConfig } from '../store/snapshot-types.js'
import { checkArch, checkHugePages, checkOnMemoryFile, hugePagesOf } from './preflight/cheap-checks.js'
import { assertPassed } from './preflight/snapshot-check.js'

/** Which Firecracker a restore takes, and why. */
export interface VmmOfRestore {
  /** Its release, e.g. "1.12.1". */
  readonly version: string
  /** Null for a VMM that was launched ahead. */
  readonly path: string | null
  /** How it was found; null for a VMM that was launched ahead. */
  readonly origin: BinaryOrigin | null
  /** Why it was taken, as a clause for people. */
  readonly reason: string
}

export interface ChosenVmm {
  readonly vmm: VmmOfRestore
  readonly binary: FirecrackerBinary | undefined
}

interface ChooseVmmOptions extends BinaryPlaces {
  readonly machine?: LaunchedMachine | undefined
  readonly binary?: FirecrackerBinary | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

/**
 * Chooses the Firecracker for a snapshot before the launch, and returns the snapshot's id too, because a tag
 * can move before the snapshot is opened. The host must have the snapshot's architecture, and huge pages if
 * the guest has them (HOST_UNSUPPORTED). If the caller gave a Firecracker, it must load snapshots of the
 * release that took this one (VERSION_UNSUPPORTED); otherwise `findFirecrackerFor` decides. Costs 0.1 ms if
 * the versions are known.
 */
export async function chooseVmm(
  store: SnapshotStore,
  ref: string,
  options: ChooseVmmOptions,
): Promise<ChosenVmm & { readonly id: string }> {
  const { config, entry } = await store.describe(ref)
  return { ...(await chooseVmmOf(config, options)), id: entry.id }
}

/** The same for a snapshot whose config is known. */
export async function chooseVmmOf(config: SnapshotConfig, options: ChooseVmmOptions): Promise<ChosenVmm> {
  assertPassed(checkArch(config.host.arch))
  assertPassed(checkHugePages(hugePagesOf(config), config.memoryPages * pageSizeBytes))
  return chooseVmmFor(versionOf(config.firecracker.version), options)
}

/**
 * The same for a state file alone, whose memory is a file; it tells the series of its release: any of it
 * loads the others' snapshots.
 */
export async function chooseVmmOfState(statePath: string, options: ChooseVmmOptions): Promise<ChosenVmm> {
  const { format, arch, vmInfo } = await inspectStateFile(statePath)
  assertPassed(checkArch(arch))
  assertPassed(checkOnMemoryFile(vmInfo.hugePages))
  return chooseVmmFor(versionOf(/\d+\.\d+\.\d+/.exec(format.firecracker)?.[0] ?? ''), options)
}

/** The same for the release that takes the snapshot. */
export async function chooseVmmFor(
  maker: FirecrackerVersion | undefined,
  { machine, binary: given, signal, onProgress, ...places }: ChooseVmmOptions,
): Promise<ChosenVmm> {
  if (machine !== undefined) {
    if (maker !== undefined) assertLoads(machine.firecrackerVersion, maker, `that of ${machine.id}`)
    const version = formatFirecrackerVersion(machine.firecrackerVersion)
    return { vmm: { version, path: null, origin: null, reason: 'it was launched ahead' }, binary: undefined }
  }
  if (given !== undefined) {
    if (maker !== undefined) assertLoads(given.version, maker, given.path)
    return chosen(given, 'the caller named it')
  }
  const { binary, reason } = await findFirecrackerFor(maker, {
    ...onlyPlaces(places),
    signal,
    onProgress,
  })
  return chosen(binary, reason)
}

const chosen = (binary: FirecrackerBinary, reason: string) => ({
  binary,
  vmm: {
    version: formatFirecrackerVersion(binary.version),
    path: binary.path,
    origin: binary.origin,
    reason,
  },
})

/**
 * A snapshot of a build whose version is none of a release's is not judged by it: Firecracker itself will
 * say.
 */
function versionOf(text: string): FirecrackerVersion | undefined {
  try {
    return parseFirecrackerVersion(text)
  } catch (error) {
    if (isVarveError(error, 'FORMAT_INVALID')) return undefined
    throw error
  }
}
