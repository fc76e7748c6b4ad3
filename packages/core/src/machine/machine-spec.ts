export interface DiskSpec {
  /** Drive id: 1–64 letters, digits, underscores. */
  readonly id: string
  /** The disk's file (or block device). It stays the one that the guest writes to. */
  readonly path: string
  readonly readOnly?: boolean
}

export interface NetworkSpec {
  readonly id: string
  /** Name of an existing tap device. */
  readonly tap: string
  readonly mac?: string
}

/** What to boot. Plain data: write it by hand, or read it from a JSON file with `readMachineSpec`. */
export interface MachineSpec {
  /** Machine name, 1–32 of a–z, 0–9 and '-'. Default: a random one. */
  readonly name?: string
  /** Uncompressed kernel: an ELF file on x86_64, an Image on aarch64. */
  readonly kernel: string
  readonly initrd?: string
  /** Default: `console=ttyS0 reboot=k panic=1`. */
  readonly bootArgs?: string
  readonly memoryMib: number
  /** 1–32. */
  readonly vcpus: number
  readonly rootDisk?: Omit<DiskSpec, 'id'>
  readonly disks?: readonly DiskSpec[]
  /**
   * Context id (3 or more) of the guest's vsock device. Its socket is `vsock.sock` in the VM's own directory,
   * told to Firecracker by a relative path, so that clones of one snapshot do not collide.
   */
  readonly vsockCid?: number
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

export const defaultBootArgs = 'console=ttyS0 reboot=k panic=1'
export const vsockFileName = 'vsock.sock'
