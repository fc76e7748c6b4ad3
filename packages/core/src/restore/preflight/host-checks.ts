import { existsSync, readFileSync } from 'node:fs'
import { cpus, freemem, release } from 'node:os'
import { VarveError } from '../../errors.js'
import { type CpuidEntry, vendorOfCpuid } from '../../firecracker/state-file/guest-cpuid.js'
import { flagsShown } from '../../host/cpu-flags.js'
import { assertDiskFile } from '../../machine/disks.js'
import { assertOwnSocket, type DeclaredDevices } from './declared-devices.js'
import { fail, ok, type SnapshotCheck, warn } from './snapshot-check.js'

/** The properties of this host; tests pass another one. */
export interface HostFacts {
  /** Model name of the CPU. */
  readonly cpu: string
  /** `vendor_id` and `flags` of /proc/cpuinfo; not set if it has none, as on aarch64. */
  readonly cpuid?: {
    /** Vendor of the CPU. */
    readonly vendor: string
    /** Features of the CPU. */
    readonly flags: ReadonlySet<string>
  }
  /** Release of the kernel, as `uname -r` says. */
  readonly kernel: string
  /** Memory that can still be had, bytes. */
  readonly availableBytes: number
  /** Milliseconds since 1970, UTC. */
  readonly now: number
}

export function hostFacts(): HostFacts {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    ...hostCpuid(),
    kernel: release(),
    availableBytes: availableBytes(),
    now: Date.now(),
  }
}

function hostCpuid(): Pick<HostFacts, 'cpuid'> {
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8')
    const of = (name: string) => new RegExp(`^${name}\\s*:\\s*(\\S.*)$`, 'm').exec(text)?.[1]
    const [vendor, flags] = [of('vendor_id'), of('flags')]
    return vendor === undefined || flags === undefined
      ? {}
      : { cpuid: { vendor: vendor.trim(), flags: new Set(flags.trim().split(/\s+/)) } }
  } catch {
    return {}
  }
}

function availableBytes(): number {
  try {
    const kib = /^MemAvailable:\s*(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]
    return kib === undefined ? freemem() : Number(kib) * 1024
  } catch {
    return freemem()
  }
}

const vendors = ['Intel', 'AMD', 'ARM', 'Neoverse', 'Graviton'] as const
const vendorOf = (cpu: string): string =>
  vendors.find((it) => cpu.includes(it)) ?? cpu.split(/[\s(]/)[0] ?? cpu

/**
 * Firecracker, docs/snapshotting/versioning.md: the CPU must be the same model, or a CPU template must hide
 * what differs.
 */
export function checkCpu(taken: string | null, template: string, host: HostFacts): SnapshotCheck {
  const id = 'cpu'
  if (taken === null)
    return warn(
      id,
      `a state file does not name its CPU (template ${template}); this host has ${host.cpu}`,
      'restore it on the CPU model that it was taken on',
    )
  if (taken === host.cpu) return ok(id, `${taken}, as here`)
  if (vendorOf(taken) !== vendorOf(host.cpu))
    return fail(
      id,
      'HOST_UNSUPPORTED',
      `taken on ${taken}, and this host has ${host.cpu}: a guest cannot go on on a CPU of another vendor`,
      'restore it on a CPU of the same model',
    )
  return warn(
    id,
    `taken on ${taken}, and this host has ${host.cpu}${template === 'None' ? '' : ` (CPU template ${template})`}`,
    'restore it on the same model; otherwise the guest may use instructions that this CPU does not have',
  )
}

/** `lists`: of each vCPU; undefined if this format of the state file is not read so far. */
export function checkCpuFeatures(
  lists: readonly (readonly CpuidEntry[])[] | undefined,
  { cpuid }: HostFacts,
): SnapshotCheck {
  const id = 'cpu-features'
  const notKnown = (why: string) =>
    warn(
      id,
      `whether this CPU has the features that the guest was shown is not known: ${why}`,
      'restore it on the CPU model that it was taken on',
    )
  if (lists === undefined) return notKnown('CPUID is not read from a state file of this format')
  if (lists.length === 0) return notKnown('no CPUID was found in the state file')
  if (cpuid === undefined) return notKnown('/proc/cpuinfo does not list the flags of this CPU')
  const foreign = lists.map(vendorOfCpuid).find((vendor) => vendor !== cpuid.vendor)
  if (foreign !== undefined)
    return fail(
      id,
      'HOST_UNSUPPORTED',
      `the guest was shown a CPU of ${foreign}, and here is one of ${cpuid.vendor}`,
      'restore it on a CPU of the same model',
    )
  const shown = new Set(lists.flatMap((list) => [...flagsShown(list)]))
  const missing = [...shown].filter((flag) => !cpuid.flags.has(flag))
  if (missing.length === 0)
    return ok(id, `this CPU has all ${shown.size} that the guest was shown and the CPU itself must have`)
  return fail(
    id,
    'HOST_UNSUPPORTED',
    `the guest was shown ${missing.join(', ')}, which this CPU does not have`,
    'restore it on a CPU that has them, or boot the guest with a CPU template that hides them',
  )
}

export function checkKernel(taken: string | null, { kernel }: HostFacts): SnapshotCheck {
  const id = 'kernel'
  const minor = (text: string) => text.split('.').slice(0, 2).join('.')
  if (taken === null) return ok(id, `Linux ${kernel} here; a state file does not name its host’s`)
  if (minor(taken) === minor(kernel)) return ok(id, `taken on Linux ${taken}, here is ${kernel}`)
  return warn(
    id,
    `taken on Linux ${taken}, and this host runs ${kernel}: its KVM may know other CPU registers`,
    'test a restore before you rely on it; if it fails, restore on the same kernel series',
  )
}

export function checkMemory(memoryBytes: number, { availableBytes: here }: HostFacts): SnapshotCheck {
  const id = 'memory'
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`
  const says = `the guest has ${mib(memoryBytes)}, and a restore takes only the touched part; ${mib(here)} are available`
  return here >= memoryBytes
    ? ok(id, says)
    : warn(id, says, 'free memory if the guest will touch most of its own')
}

/** An hour: after that a certificate or a lease in the guest may have run out. */
const oldMs = 3_600_000

export function checkClock(takenAt: string | null, { now }: HostFacts): SnapshotCheck {
  const id = 'clock'
  if (takenAt === null) return ok(id, 'a state file does not say when it was taken')
  const ageMs = now - Date.parse(takenAt)
  if (ageMs < -60_000)
    return warn(id, `taken at ${takenAt}, which is in the future here`, 'set the clock of this machine')
  const says = `taken at ${takenAt}: the guest’s clock goes on from there, ${Math.max(0, Math.round(ageMs / 1000))} s behind`
  return ageMs < oldMs ? ok(id, says) : warn(id, says, 'set the clock in the guest after the restore')
}

/**
 * What the snapshot uses of this host, apart from what is in the store: what a restore refuses fails in its
 * words.
 */
export function checkDevices(declared: DeclaredDevices): SnapshotCheck[] {
  return [...checkDrives(declared.disks), ...checkVsock(declared), ...checkTaps(declared.taps)]
}

function checkDrives(disks: DeclaredDevices['disks']): SnapshotCheck[] {
  if (disks.length === 0) return [ok('drives', 'none')]
  return disks.map(({ drive, file, readOnly }) =>
    passing(`drive ${drive}`, () => {
      assertDiskFile(file)
      return `${file}: ${readOnly ? 'read-only' : 'each machine gets a copy of its own'}`
    }),
  )
}

function checkVsock(declared: DeclaredDevices): SnapshotCheck[] {
  const { vsockPath } = declared
  if (vsockPath === null) return []
  return [
    passing('vsock', () => {
      assertOwnSocket(declared)
      return `${vsockPath} in each machine’s own directory`
    }),
  ]
}

/** `ok` with what `check` says, or `fail` with the error that it throws. */
export function passing(id: string, check: () => string): SnapshotCheck {
  try {
    return ok(id, check())
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    return fail(id, error.code, error.message, error.remedy ?? 'do not restore it')
  }
}

function checkTaps(taps: DeclaredDevices['taps']): SnapshotCheck[] {
  return Object.entries(taps).map(([iface, tap]) => {
    const id = `tap ${iface}`
    if (/^[^/\0]{1,15}$/.test(tap) && existsSync(`/sys/class/net/${tap}`)) return ok(id, `${tap} is there`)
    return fail(
      id,
      'NOT_FOUND',
      `there is no network device ${JSON.stringify(tap)}`,
      `ip tuntap add ${tap} mode tap, or name another with networkOverrides (Firecracker 1.12.0)`,
    )
  })
}
