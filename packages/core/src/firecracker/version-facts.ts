import {
  type Availability,
  compareFirecrackerVersions,
  type FirecrackerVersion,
  isAvailable,
  parseFirecrackerVersion,
} from './version.js'

/** The properties of one restore on which a fact may depend. */
export interface RestoreFacts {
  /** The release that took the snapshot; undefined if it is not known. */
  readonly maker: FirecrackerVersion | undefined
  /** The release that would load it; undefined if there is none. */
  readonly loader: FirecrackerVersion | undefined
  readonly arch: 'x86_64' | 'aarch64'
  /** `uname -r` here. */
  readonly hostKernel: string
  readonly hasVsock: boolean
  readonly isDiff: boolean
  readonly memorySlots: number
}

/** A defect or property of certain releases, for any snapshot. */
export interface VersionFact {
  /** Its name in reports. */
  readonly id: string
  /** A public issue, or where it was seen. */
  readonly source: string
  /** The release that decides: the one that took the snapshot, or the one that loads it. */
  readonly of: 'maker' | 'loader'
  /** Releases in which it is mended, as in `Availability`; null if there is none yet. */
  readonly mended: Availability | null
  /** The first release that has it; null for all. */
  readonly since: string | null
  /** The only architecture that has it; all if it is not set. */
  readonly arch?: 'x86_64'
  /** The first host kernel that it needs. */
  readonly hostKernelSince?: string
  /** The guest has it only with this. */
  readonly needs?: 'vsock' | 'diff of several slots'
  /** What happens, as a sentence for people. */
  readonly says: string
  /** What to do about it. */
  readonly remedy: string
}

/** Defects and properties of releases that Varve knows; docs/guides/doctor.md lists them. */
export const versionFacts: readonly VersionFact[] = [
  {
    id: 'vmgenid',
    source: 'firecracker#5760',
    of: 'maker',
    since: null,
    mended: { since: ['1.16.0'] },
    arch: 'x86_64',
    says: 'a guest with Linux before 6.10 does not notice VMGenID, so its clones keep the same random numbers',
    remedy:
      'seed the guest’s random numbers after each restore, or use Linux 6.10 in it, or boot it by Firecracker 1.16.0',
  },
  {
    id: 'ia32-xss',
    source: 'firecracker#5972',
    of: 'maker',
    since: null,
    mended: { since: ['1.16.1'] },
    arch: 'x86_64',
    hostKernelSince: '6.18',
    says: 'the snapshot does not have IA32_XSS: a guest with Linux 6.18 may crash on this host',
    remedy: 'take the snapshot with Firecracker 1.16.1, or use an older kernel in the guest',
  },
  {
    id: 'vsock-bare-pause',
    source: 'firecracker#6100',
    of: 'loader',
    since: '1.16.0',
    mended: { since: ['1.16.2'] },
    needs: 'vsock',
    says: 'after a pause and resume without a snapshot, new vsock connections from the host to the guest fail',
    remedy: 'pause this guest only for a snapshot, or use Firecracker 1.15.1 for it',
  },
  {
    id: 'vsock-after-restore',
    source: 'cocoon#140',
    of: 'loader',
    since: '1.16.0',
    mended: { since: ['1.16.1'] },
    needs: 'vsock',
    says: 'vsock does not work after a restore',
    remedy: 'use Firecracker 1.16.1',
  },
  {
    id: 'monotonic-clock',
    source: 'firecracker#5809',
    of: 'loader',
    since: null,
    mended: { since: ['1.14.4', '1.15.1', '1.16.0'] },
    arch: 'x86_64',
    hostKernelSince: '5.16',
    says: 'the guest’s monotonic clock jumps at a restore by the time that has passed since the snapshot',
    remedy:
      'expect timers in the guest to fire at once, or use Firecracker 1.14.4, 1.15.1 or 1.16.0 for snapshots of their series',
  },
  {
    id: 'diff-of-several-slots',
    source: 'firecracker 1.14.2, CHANGELOG',
    of: 'maker',
    since: '1.14.0',
    mended: { since: ['1.14.2'] },
    needs: 'diff of several slots',
    says: 'the memory may be wrong: this release writes wrong Diffs of a guest with more than one memory slot',
    remedy: 'take the snapshot again as a Full, or with Firecracker 1.14.2 or newer',
  },
]

/** The facts that hold for a restore. */
export function factsOf(about: RestoreFacts): readonly VersionFact[] {
  return versionFacts.filter((fact) => holds(fact, about))
}

function holds(fact: VersionFact, about: RestoreFacts): boolean {
  const version = about[fact.of]
  if (version === undefined) return false
  if (fact.since !== null && compareFirecrackerVersions(version, parseFirecrackerVersion(fact.since)) < 0)
    return false
  if (fact.mended !== null && isAvailable(fact.mended, version)) return false
  if (fact.arch !== undefined && fact.arch !== about.arch) return false
  if (fact.hostKernelSince !== undefined && !isKernelSince(about.hostKernel, fact.hostKernelSince))
    return false
  if (fact.needs === 'vsock') return about.hasVsock
  return fact.needs === undefined || (about.isDiff && about.memorySlots > 1)
}

function isKernelSince(kernel: string, since: string): boolean {
  const numbers = (text: string) => (/^(\d+)\.(\d+)/.exec(text) ?? ['', '0', '0']).slice(1).map(Number)
  const [major = 0, minor = 0] = numbers(kernel)
  const [sinceMajor = 0, sinceMinor = 0] = numbers(since)
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)
}
