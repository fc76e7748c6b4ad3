/**
 * Bodies of Firecracker's HTTP API, hand-written from its documentation; names are Firecracker's own, units
 * are in the names. What exists from which version on is data in `api-availability.ts`, not in the types.
 */

export interface TokenBucket {
  readonly size: number
  readonly refill_time: number
  readonly one_time_burst?: number
}
export interface RateLimiter {
  readonly bandwidth?: TokenBucket
  readonly ops?: TokenBucket
}

export interface InstanceInfo {
  readonly id: string
  readonly state: 'Not started' | 'Running' | 'Paused'
  readonly vmm_version: string
  readonly app_name: string
}

export interface MachineConfiguration {
  readonly vcpu_count: number
  readonly mem_size_mib: number
  readonly smt?: boolean
  readonly cpu_template?: string
  readonly track_dirty_pages?: boolean
  readonly huge_pages?: 'None' | '2M'
}

export interface BootSource {
  readonly kernel_image_path: string
  readonly initrd_path?: string
  readonly boot_args?: string
}

export interface Drive {
  readonly drive_id: string
  readonly is_root_device: boolean
  readonly path_on_host?: string
  readonly is_read_only?: boolean
  readonly partuuid?: string
  readonly cache_type?: 'Unsafe' | 'Writeback'
  readonly rate_limiter?: RateLimiter
  readonly io_engine?: 'Sync' | 'Async'
  /** vhost-user socket; such a VM cannot be snapshotted. */
  readonly socket?: string
}
export interface PartialDrive {
  readonly drive_id: string
  readonly path_on_host?: string
  readonly rate_limiter?: RateLimiter
}

export interface NetworkInterface {
  readonly iface_id: string
  readonly host_dev_name: string
  readonly guest_mac?: string
  readonly rx_rate_limiter?: RateLimiter
  readonly tx_rate_limiter?: RateLimiter
  readonly mtu?: number
}
export interface PartialNetworkInterface {
  readonly iface_id: string
  readonly rx_rate_limiter?: RateLimiter
  readonly tx_rate_limiter?: RateLimiter
}

export interface Vsock {
  readonly guest_cid: number
  readonly uds_path: string
}

export interface MmdsConfig {
  readonly version?: 'V1' | 'V2'
  readonly ipv4_address?: string
  readonly network_interfaces: readonly string[]
  readonly imds_compat?: boolean
}

export interface Balloon {
  readonly amount_mib: number
  readonly deflate_on_oom: boolean
  readonly stats_polling_interval_s?: number
  readonly free_page_hinting?: boolean
  readonly free_page_reporting?: boolean
}
export interface BalloonUpdate {
  readonly amount_mib: number
}
export interface BalloonStatsUpdate {
  readonly stats_polling_interval_s: number
}
export interface BalloonHintingStart {
  readonly acknowledge_on_stop?: boolean
}

export interface Entropy {
  readonly rate_limiter?: RateLimiter
}
export interface Serial {
  readonly serial_out_path?: string
  readonly rate_limiter?: TokenBucket
}
export interface Pmem {
  readonly id: string
  readonly path_on_host: string
  readonly root_device?: boolean
  readonly read_only?: boolean
  readonly rate_limiter?: RateLimiter
}
export interface PartialPmem {
  readonly id: string
  readonly rate_limiter?: RateLimiter
}
export interface HotplugMemory {
  readonly total_size_mib: number
  readonly block_size_mib?: number
  readonly slot_size_mib?: number
}
export interface HotplugMemoryUpdate {
  readonly requested_size_mib: number
}
export interface Logger {
  readonly log_path?: string
  readonly level?: 'Error' | 'Warning' | 'Info' | 'Debug' | 'Trace' | 'Off'
  readonly show_level?: boolean
  readonly show_log_origin?: boolean
  readonly module?: string
}
export interface Metrics {
  readonly metrics_path: string
}

export interface SnapshotCreate {
  readonly snapshot_path: string
  readonly mem_file_path: string
  readonly snapshot_type?: 'Full' | 'Diff'
}

export interface MemoryBackend {
  readonly backend_type: 'File' | 'Uffd'
  readonly backend_path: string
}

export interface SnapshotLoad {
  readonly snapshot_path: string
  readonly mem_backend: MemoryBackend
  readonly enable_diff_snapshots?: boolean
  readonly track_dirty_pages?: boolean
  readonly resume_vm?: boolean
  readonly network_overrides?: readonly { readonly iface_id: string; readonly host_dev_name: string }[]
  readonly vsock_override?: { readonly uds_path: string }
  readonly clock_realtime?: boolean
}

/**
 * GET /vm/config: what is there depends on the version, so only the parts a snapshot tool reads are typed.
 */
export interface FullVmConfiguration {
  readonly 'machine-config': MachineConfiguration
  readonly drives?: readonly Drive[]
  /** 1.14.0 and newer. */
  readonly pmem?: readonly Pmem[]
  /** 1.14.0 and newer; absent or null if there is none. Also after a load. */
  readonly 'memory-hotplug'?: HotplugMemory | null
  readonly vsock?: Vsock | null
  readonly 'network-interfaces'?: readonly NetworkInterface[]
  readonly [key: string]: unknown
}
