import type { GuestAgentPlace } from '../guest-agent-place.js'

/** A token bucket of Firecracker: `size` tokens, refilled evenly within `refillMs`. */
export interface TokenBucket {
  /** 1 and more. */
  readonly size: number
  /** 0 and more. 0: no limit. */
  readonly refillMs: number
  /** Tokens that can be spent once, at the beginning, besides. Default 0. */
  readonly burst?: number
}

/** The most that a device may transfer. Default: no limit. */
export interface RateLimit {
  /** In bytes. */
  readonly bandwidth?: TokenBucket
  /** In requests, or packets. */
  readonly operations?: TokenBucket
}

/** A disk of a machine. */
export interface DiskSpec {
  /** Drive id: 1–64 letters, digits, underscores. */
  readonly id: string
  /** The disk's file (or block device). Unless `copy` is given it stays the one that the guest writes to. */
  readonly path: string
  /** Whether the guest cannot write to it. Default false. */
  readonly readOnly?: boolean
  /**
   * Give the machine a private copy of the file, which goes with it: shared blocks where the file system can.
   * The file must not change meanwhile. Default false.
   */
  readonly copy?: boolean
  /**
   * `unsafe`, the default: the guest's flushes are acknowledged, and not carried out. `writeback`: they wait
   * for the host's disk.
   */
  readonly cache?: 'unsafe' | 'writeback'
  /** How Firecracker reads and writes the file: one request after the other (default), or by io_uring. */
  readonly engine?: 'sync' | 'async'
  /** Of the guest's reads and writes. Default: no limit. */
  readonly rateLimit?: RateLimit
}

/** A file that the guest has as memory (virtio-pmem). Firecracker 1.14.0 or newer. */
export interface PmemSpec extends Pick<DiskSpec, 'id' | 'path' | 'readOnly'> {
  /** Whether it is the guest's root. Default false. */
  readonly root?: boolean
  /** Firecracker 1.16.0 or newer. */
  readonly rateLimit?: RateLimit
}

/** The device by which guest memory can be taken back; `machine.api.patchBalloon` changes its `targetMib`. */
export interface BalloonSpec {
  /** What the guest is to give back, MiB. */
  readonly targetMib: number
  /** Whether the guest takes memory out of the balloon before it kills a process. Default false. */
  readonly deflateOnOom?: boolean
  /** Seconds between the guest's reports, for `machine.api.balloonStatistics`. Default: none. */
  readonly statisticsSeconds?: number
  /** The guest names free pages when it is asked. Firecracker 1.14.0 or newer. */
  readonly hinting?: boolean
  /** The guest names free pages all the time, and they are taken back. Firecracker 1.14.0 or newer. */
  readonly reporting?: boolean
}

/** Memory that the guest can get while it runs (virtio-mem), by `machine.api.patchHotplugMemory`. */
export interface HotplugMemorySpec {
  /** The most that can be plugged, MiB. */
  readonly totalMib: number
  /** The unit of the guest, MiB. Default: Firecracker's, 2. */
  readonly blockMib?: number
  /** The unit of the host, MiB. Default: Firecracker's, 128. */
  readonly slotMib?: number
}

/** A virtio entropy device. */
export interface EntropySpec {
  /** Of the random bytes that the guest gets. */
  readonly rateLimit: RateLimit
}

/**
 * The metadata service (MMDS). What it answers is given by `machine.api.putMmds`, after a restore again:
 * Firecracker's snapshots do not contain it.
 */
export interface MmdsSpec {
  /** Ids of the interfaces by which the guest reaches it. */
  readonly interfaces: readonly string[]
  /** `v2` asks for a session token. Default: Firecracker's, `v1`. */
  readonly version?: 'v1' | 'v2'
  /** Its IPv4 address. Default: Firecracker's, 169.254.169.254. */
  readonly address?: string
  /** Answer as EC2's service does. Firecracker 1.13.0 or newer. */
  readonly imdsCompatible?: boolean
}

/** A network interface of a machine. */
export interface NetworkSpec {
  /** Interface id, of the same characters as a drive id. */
  readonly id: string
  /** Name of an existing tap device. */
  readonly tap: string
  /** The guest's MAC address. Default: none is given to Firecracker. */
  readonly mac?: string
  /** Largest packet, bytes. Firecracker 1.16.0 or newer. Default: the tap's. */
  readonly mtu?: number
  /** Of what the guest receives. Default: no limit. */
  readonly receiveLimit?: RateLimit
  /** Of what the guest sends. Default: no limit. */
  readonly transmitLimit?: RateLimit
}

/** What to boot. Plain data: write it by hand, or read it from a JSON file with `readMachineSpec`. */
export interface MachineSpec {
  /** Machine name, 1–32 of a–z, 0–9 and '-'. Default: a random one. */
  readonly name?: string
  /** Uncompressed kernel: an ELF file on x86_64, an Image on aarch64. */
  readonly kernel: string
  /** Path of an initrd. Default: none. */
  readonly initrd?: string
  /** Default: `console=ttyS0 reboot=k panic=1`. */
  readonly bootArgs?: string
  /** Guest memory, MiB. */
  readonly memoryMib: number
  /** 1–32. */
  readonly vcpus: number
  /** The disk that the guest has as its root. Default: none. */
  readonly rootDisk?: Omit<DiskSpec, 'id'>
  /** More disks. Default: none. */
  readonly disks?: readonly DiskSpec[]
  /**
   * Context id (3 or more) of the guest's vsock device. Its socket is `vsock.sock` in the VM's own directory,
   * told to Firecracker by a relative path, so that clones of one snapshot do not collide.
   */
  readonly vsockCid?: number
  /**
   * That the guest has the agent of `@varve/guest`; needs `vsockCid`. The machine and its snapshots keep it.
   * The command and `@varve/guest` then tell a clone who it is, and run the guest's hooks; this package talks
   * to no agent. `bootGuest` sets it. Default: it has none.
   */
  readonly guestAgent?: GuestAgentPlace
  /** Network interfaces. Default: none. */
  readonly network?: readonly NetworkSpec[]
  /** Give the guest a virtio entropy device, with a limit or without. */
  readonly entropy?: boolean | EntropySpec
  /** Default: none. */
  readonly pmem?: readonly PmemSpec[]
  /** Default: none. */
  readonly balloon?: BalloonSpec
  /**
   * Default: none. Firecracker 1.14.0 or newer. Of such a machine no snapshot is taken live.
   */
  readonly hotplugMemory?: HotplugMemorySpec
  /** Default: none. */
  readonly mmds?: MmdsSpec
  /**
   * The CPU that the guest sees: the name of one of Firecracker's templates (`T2`, for example), or one as
   * `PUT /cpu-config` takes it. Default: the host's.
   */
  readonly cpuTemplate?: string | Readonly<Record<string, unknown>>
  /** Whether the guest sees pairs of threads on each core. x86_64. Default false. */
  readonly smt?: boolean
  /** The most that the guest may write to its serial console, in bytes. Firecracker 1.16.0 or newer. */
  readonly serialLimit?: TokenBucket
  /** Log written pages from boot on, which Diff snapshots need. Default true. */
  readonly trackDirtyPages?: boolean
  /**
   * Back guest memory by huge pages of 2 MiB, which the host must have free (`sysctl vm.nr_hugepages`;
   * HOST_UNSUPPORTED). Snapshots of such a machine are taken while it stands still, and restored by the
   * `paged` engine. Default false.
   */
  readonly hugePages?: boolean
}

/** The kernel's command line unless `MachineSpec.bootArgs` is given. */
export const defaultBootArgs = 'console=ttyS0 reboot=k panic=1'
export const vsockFileName = 'vsock.sock'
