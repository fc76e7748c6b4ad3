/** A disk of a machine. */
export interface DiskSpec {
  /** Drive id: 1–64 letters, digits, underscores. */
  readonly id: string
  /** The disk's file (or block device). It stays the one that the guest writes to. */
  readonly path: string
  /** Whether the guest cannot write to it. Default false. */
  readonly readOnly?: boolean
}

/** A network interface of a machine. */
export interface NetworkSpec {
  /** Interface id, of the same characters as a drive id. */
  readonly id: string
  /** Name of an existing tap device. */
  readonly tap: string
  /** The guest's MAC address. Default: none is given to Firecracker. */
  readonly mac?: string
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
  /** Network interfaces. Default: none. */
  readonly network?: readonly NetworkSpec[]
  /** Give the guest a virtio entropy device. */
  readonly entropy?: boolean
  /** Log written pages from boot on, which Diff snapshots need. Default true. */
  readonly trackDirtyPages?: boolean
  /**
   * Back guest memory by 2 MiB pages. Varve takes no snapshot of such a machine (MACHINE_STATE): no engine
   * could restore it.
   */
  readonly hugePages?: boolean
}

/** The kernel's command line unless `MachineSpec.bootArgs` is given. */
export const defaultBootArgs = 'console=ttyS0 reboot=k panic=1'
export const vsockFileName = 'vsock.sock'
