import { readFileSync } from 'node:fs'
import { cpus, freemem, release, totalmem } from 'node:os'
import { VarveError } from '../errors.js'
import { describeOrigin, type FindBinaryOptions, findFirecracker } from '../firecracker/binary.js'
import {
  compareFirecrackerVersions,
  parseFirecrackerVersion,
  supportedVersions,
} from '../firecracker/version.js'
import { faultAroundBytes, faultAroundObstacle } from '../sys/fault-around.js'
import { probeKvm } from '../sys/kvm.js'
import { probeUserfaultfd } from '../sys/probe-userfaultfd.js'
import { probeReflink } from '../sys/reflink.js'
import { removeLeftTemporaries } from '../sys/temporaries.js'
import { assertUsableRuntime, runtimeDirectory } from '../usable-runtime.js'
import { recallLinuxVerdict } from './linux-verdict.js'

/** The result of one check of this host. */
export interface HostCheck {
  /** The name of the check. */
  readonly id: string
  /** `lack`: something Varve offers will not work here; `note`: works, with a consequence worth knowing. */
  readonly status: 'ok' | 'note' | 'lack'
  /** What was found, as a sentence for people. */
  readonly finding: string
  /** What to do about it; set for every lack. */
  readonly remedy?: string
}

/**
 * What this host can do for Varve, one check after another. Runs `firecracker
 * --version` and leaves nothing behind.
 */
export async function checkHost(
  options: FindBinaryOptions & {
    /** A directory whose file system is asked for reflinks. Default: the working directory. */
    readonly directory?: string
  } = {},
): Promise<HostCheck[]> {
  return [
    await checkBinary(options),
    checkKvm(),
    checkUserfaultfd(),
    checkPtrace(),
    await checkReflink(options.directory ?? process.cwd()),
    checkMemory(),
    checkDirtyLogging(),
    checkMapCount(),
    checkFaultAround(),
    {
      id: 'kernel',
      status: 'ok',
      finding: `Linux ${release()}, ${cpus().length} CPUs, ${cpus()[0]?.model ?? 'unknown'}`,
    },
    checkRuntime(runtimeDirectory(options.env)),
  ]
}

async function checkBinary(options: FindBinaryOptions): Promise<HostCheck> {
  const id = 'firecracker'
  try {
    const binary = await findFirecracker({ ...options, download: options.download ?? false })
    const { oldest, newest } = supportedVersions
    const inRange =
      compareFirecrackerVersions(binary.version, parseFirecrackerVersion(oldest)) >= 0 &&
      compareFirecrackerVersions(binary.version, parseFirecrackerVersion(newest)) <= 0
    const finding = describeOrigin(binary)
    if (inRange) return { id, status: 'ok', finding }
    return { id, status: 'note', finding: `${finding}; Varve was checked against ${oldest} to ${newest}` }
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    return {
      id,
      status: 'lack',
      finding: error.message,
      remedy: error.remedy ?? 'set $FIRECRACKER to a Firecracker binary',
    }
  }
}

/** Says the same as a launch in that directory would. */
function checkRuntime(runtime: string): HostCheck {
  const id = 'runtime'
  try {
    assertUsableRuntime(runtime)
    return { id, status: 'ok', finding: `machines are recorded in ${runtime}` }
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    const { message, remedy = 'set $VARVE_RUNTIME_DIR to a directory of your own' } = error
    return { id, status: 'lack', finding: `no machine can be launched: ${message}`, remedy }
  }
}

function checkKvm(): HostCheck {
  const id = 'kvm'
  const probe = probeKvm()
  if (!probe.usable) {
    const denied = probe.reason.includes('EACCES') || probe.reason.includes('EPERM')
    return {
      id,
      status: 'lack',
      finding: `no KVM: ${probe.reason}`,
      remedy: denied
        ? 'join the group that owns /dev/kvm (usermod -aG kvm USER), or run as root'
        : 'load kvm_intel or kvm_amd, enable virtualisation in firmware or nesting in the outer hypervisor; until then use the nested lab',
    }
  }
  const verdict = recallLinuxVerdict()
  const linux = verdict?.linuxBoots ?? hardwareVirtualisation()
  const evidence =
    verdict === undefined
      ? `judged by the CPU’s flags: ${hardwareVirtualisation() ? 'vmx or svm' : 'neither vmx nor svm, so KVM works in software'}`
      : `tried since the last reboot: a Linux guest ${verdict.linuxBoots ? 'answered after' : 'gave no answer in'} ${verdict.afterMs} ms`
  const finding = `/dev/kvm works, ${linux ? 'for Linux guests and the micro guest' : 'for the micro guest only'} (${evidence}); ${probe.memorySlots} memory slots`
  if (linux) return { id, status: 'ok', finding }
  return {
    id,
    status: 'note',
    finding,
    remedy: 'run Linux guests in the nested lab, or on a host with VMX or SVM',
  }
}

/**
 * Whether KVM here runs guest code in hardware. Software KVM (kvm-pvm) offers the same device but emulates
 * privileged code, and a Linux kernel does not get through its boot on it. aarch64 has no such software KVM.
 */
export function hardwareVirtualisation(cpuinfo = read('/proc/cpuinfo') ?? ''): boolean {
  if (process.arch !== 'x64') return true
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo)
}

function checkUserfaultfd(): HostCheck {
  const id = 'userfaultfd'
  const way = probeUserfaultfd()
  if (way !== undefined) return { id, status: 'ok', finding: `kernel faults can be served (${way})` }
  return {
    id,
    status: 'lack',
    finding: 'no userfaultfd for kernel-mode faults: the paged engine will not work',
    remedy:
      'give this user access to /dev/userfaultfd (Linux 6.1), or CAP_SYS_PTRACE, or sysctl vm.unprivileged_userfaultfd=1',
  }
}

// linux/capability.h
const capabilities = { CAP_SYS_PTRACE: 19n, CAP_SYS_ADMIN: 21n } as const

/** Whether Firecracker processes of this user may be traced. */
export function checkPtrace(): HostCheck {
  const id = 'ptrace'
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(read('/proc/self/status') ?? '')?.[1] ?? '0'}`)
  const missing = Object.entries(capabilities).filter(([, bit]) => (effective & (1n << bit)) === 0n)
  const scope = read('/proc/sys/kernel/yama/ptrace_scope')?.trim()
  if (scope === '3')
    return {
      id,
      status: 'lack',
      finding: 'ptrace is off (yama ptrace_scope 3): no mapped engine',
      remedy: 'boot with kernel.yama.ptrace_scope below 3',
    }
  if (missing.length === 0)
    return { id, status: 'ok', finding: `allowed, yama ptrace_scope ${scope ?? 'absent'}` }
  const names = missing.map(([name]) => name).join(' and ')
  return {
    id,
    status: 'lack',
    finding: `${names} missing: no mapped engine, no page-server recovery`,
    remedy: `run as root or grant ${names}`,
  }
}

async function checkReflink(directory: string): Promise<HostCheck> {
  const id = 'reflink'
  await removeLeftTemporaries(directory)
  const probe = probeReflink(directory)
  if (probe === 'works')
    return { id, status: 'ok', finding: `files in ${directory} can share blocks: flattening copies nothing` }
  return {
    id,
    status: 'note',
    finding: `no reflinks in ${directory} (${probe}): flattened files are copies`,
    remedy: 'keep snapshots on XFS (reflink=1) or Btrfs',
  }
}

function checkMemory(): HostCheck {
  const meminfo = read('/proc/meminfo') ?? ''
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0)
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`
  const available = kib('MemAvailable') * 1024 || freemem()
  const finding = `${gib(available)} of ${gib(totalmem())} available, ${kib('HugePages_Total')} huge pages`
  if (kib('SwapTotal') === 0) return { id: 'memory', status: 'ok', finding: `${finding}, no swap` }
  return {
    id: 'memory',
    status: 'note',
    finding: `${finding}, swap is on: Diffs without dirty tracking miss swapped pages, and guest memory reaches the disk`,
    remedy: 'swapoff -a',
  }
}

/**
 * How this host's KVM logs written pages; docs/how-firecracker-snapshots-work.md explains what each means.
 */
function checkDirtyLogging(): HostCheck {
  const pml = read('/sys/module/kvm_intel/parameters/pml')?.trim()
  const split = read('/sys/module/kvm/parameters/eager_page_split')?.trim()
  const how =
    pml === 'Y'
      ? 'page-modification logging (PML): the CPU logs written pages'
      : pml === 'N'
        ? 'PML off: each first write to a page is a write-protection fault'
        : 'no PML (not an Intel host with VMX): each first write to a page is a write-protection fault'
  const pages =
    split === undefined
      ? 'large-page splitting unknown'
      : `large pages are split ${split === 'Y' ? 'eagerly when tracking starts' : 'at the first write'}`
  return { id: 'dirty-logging', status: 'ok', finding: `${how}; ${pages}` }
}

/** The kernel's default; the mapped engine needs one mapping an extent. */
const defaultMapCount = 65530

function checkMapCount(): HostCheck {
  const count = Number(read('/proc/sys/vm/max_map_count') ?? 0)
  const finding = `${count} mappings a process (vm.max_map_count)`
  if (count >= defaultMapCount) return { id: 'max-map-count', status: 'ok', finding }
  return {
    id: 'max-map-count',
    status: 'note',
    finding,
    remedy: `sysctl vm.max_map_count=${defaultMapCount}`,
  }
}

/** Whether the pagemap recorder can count only touched pages. */
function checkFaultAround(): HostCheck {
  const id = 'fault-around'
  const obstacle = faultAroundObstacle()
  if (obstacle === undefined)
    return {
      id,
      status: 'ok',
      finding: `reads map ${faultAroundBytes()} bytes of a file at once; a recording can hold that at one page`,
    }
  const { reason, remedy } = obstacle
  return {
    id,
    status: 'note',
    finding: `reads map up to ${faultAroundBytes()} bytes of a file at once, and a recording cannot change it (${reason}): the pagemap recorder, the default, finds up to six times as many pages as were touched`,
    remedy,
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
