import type * as api from '../firecracker/api-types.js'
import type { DiskSpec, MachineSpec, NetworkSpec, PmemSpec, RateLimit, TokenBucket } from './machine-spec.js'

const tokenBucket = ({ size, refillMs, burst }: TokenBucket): api.TokenBucket => ({
  size,
  refill_time: refillMs,
  ...(burst === undefined ? {} : { one_time_burst: burst }),
})

const rateLimiter = ({ bandwidth, operations }: RateLimit): api.RateLimiter => ({
  ...(bandwidth === undefined ? {} : { bandwidth: tokenBucket(bandwidth) }),
  ...(operations === undefined ? {} : { ops: tokenBucket(operations) }),
})

/** `{ [field]: value made of it }`, or nothing where the spec says nothing: Firecracker has a default. */
function given<Field extends string, From, To>(
  field: Field,
  from: From | undefined,
  make: (from: From) => To,
): { readonly [key in Field]?: To } {
  return from === undefined ? {} : ({ [field]: make(from) } as { [key in Field]: To })
}

const same = <T>(value: T): T => value

export const machineConfiguration = (
  spec: MachineSpec,
  trackDirtyPages: boolean,
): api.MachineConfiguration => ({
  vcpu_count: spec.vcpus,
  mem_size_mib: spec.memoryMib,
  track_dirty_pages: trackDirtyPages,
  ...(spec.hugePages === true ? { huge_pages: '2M' } : {}),
  ...given('smt', spec.smt, same),
  ...(typeof spec.cpuTemplate === 'string' ? { cpu_template: spec.cpuTemplate } : {}),
})

/** What a drive has besides its file. */
export const driveOptions = ({ cache, engine, rateLimit }: DiskSpec) => ({
  ...given('cache_type', cache, (it) => (it === 'unsafe' ? ('Unsafe' as const) : ('Writeback' as const))),
  ...given('io_engine', engine, (it) => (it === 'sync' ? ('Sync' as const) : ('Async' as const))),
  ...given('rate_limiter', rateLimit, rateLimiter),
})

/** What a pmem device has besides its file. */
export const pmemOptions = ({ root, readOnly, rateLimit }: PmemSpec) => ({
  ...given('root_device', root, same),
  ...given('read_only', readOnly, same),
  ...given('rate_limiter', rateLimit, rateLimiter),
})

export const networkInterface = (spec: NetworkSpec): api.NetworkInterface => ({
  iface_id: spec.id,
  host_dev_name: spec.tap,
  ...given('guest_mac', spec.mac, same),
  ...given('mtu', spec.mtu, same),
  ...given('rx_rate_limiter', spec.receiveLimit, rateLimiter),
  ...given('tx_rate_limiter', spec.transmitLimit, rateLimiter),
})

interface DeviceRequest {
  /** As a key of `apiAvailability`. */
  readonly call: string
  readonly body: object
}

/**
 * The devices of a spec that not every Firecracker can have, as it would be asked for them, but for their
 * files: to be compared with its version before anything is started.
 */
export function deviceRequests(spec: MachineSpec): DeviceRequest[] {
  const request = (call: string, body: object | undefined) => (body === undefined ? [] : [{ call, body }])
  return [
    ...(spec.network ?? []).map((it) => ({
      call: 'PUT /network-interfaces/{id}',
      body: networkInterface(it),
    })),
    ...(spec.pmem ?? []).map((it) => ({ call: 'PUT /pmem/{id}', body: pmemOptions(it) })),
    ...request('PUT /balloon', balloon(spec)),
    ...request('PUT /mmds/config', mmdsConfig(spec)),
    ...request('PUT /hotplug/memory', hotplugMemory(spec)),
    ...request('PUT /serial', serial(spec)),
  ]
}

export function balloon({ balloon: spec }: MachineSpec): api.Balloon | undefined {
  if (spec === undefined) return undefined
  return {
    amount_mib: spec.targetMib,
    deflate_on_oom: spec.deflateOnOom ?? false,
    ...given('stats_polling_interval_s', spec.statisticsSeconds, same),
    ...given('free_page_hinting', spec.hinting, same),
    ...given('free_page_reporting', spec.reporting, same),
  }
}

export function mmdsConfig({ mmds }: MachineSpec): api.MmdsConfig | undefined {
  if (mmds === undefined) return undefined
  return {
    network_interfaces: mmds.interfaces,
    ...given('version', mmds.version, (it) => (it === 'v1' ? ('V1' as const) : ('V2' as const))),
    ...given('ipv4_address', mmds.address, same),
    ...given('imds_compat', mmds.imdsCompatible, same),
  }
}

export function hotplugMemory({ hotplugMemory: spec }: MachineSpec): api.HotplugMemory | undefined {
  if (spec === undefined) return undefined
  return {
    total_size_mib: spec.totalMib,
    ...given('block_size_mib', spec.blockMib, same),
    ...given('slot_size_mib', spec.slotMib, same),
  }
}

export const serial = ({ serialLimit }: MachineSpec): api.Serial | undefined =>
  serialLimit === undefined ? undefined : { rate_limiter: tokenBucket(serialLimit) }

export function entropy({ entropy: spec }: MachineSpec): api.Entropy | undefined {
  if (spec === undefined || spec === false) return undefined
  return spec === true ? {} : { rate_limiter: rateLimiter(spec.rateLimit) }
}
