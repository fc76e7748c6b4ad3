import { expect, test } from 'vitest'
import { requireApi } from '../firecracker/api-availability.js'
import { parseFirecrackerVersion } from '../firecracker/version.js'
import { balloon, deviceRequests, driveOptions, entropy, machineConfiguration } from './device-requests.js'
import type { MachineSpec } from './machine-spec.js'

const least: MachineSpec = { kernel: 'k', memoryMib: 64, vcpus: 1 }
const bandwidth = { size: 1000, refillMs: 100 }

test('what the spec does not say, Firecracker is not told', () => {
  expect(deviceRequests({ ...least, network: [{ id: 'e', tap: 't' }] })).toEqual([
    { call: 'PUT /network-interfaces/{id}', body: { iface_id: 'e', host_dev_name: 't' } },
  ])
  expect(driveOptions({ id: 'd', path: 'p' })).toEqual({})
  expect(machineConfiguration(least, true)).toEqual({
    vcpu_count: 1,
    mem_size_mib: 64,
    track_dirty_pages: true,
  })
  expect([balloon(least), entropy(least), entropy({ ...least, entropy: false })]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
})

test('names and units are Firecracker’s', () => {
  const rateLimit = { bandwidth: { ...bandwidth, burst: 5 }, operations: bandwidth }
  expect(driveOptions({ id: 'd', path: 'p', cache: 'writeback', engine: 'async', rateLimit })).toEqual({
    cache_type: 'Writeback',
    io_engine: 'Async',
    rate_limiter: {
      bandwidth: { size: 1000, refill_time: 100, one_time_burst: 5 },
      ops: { size: 1000, refill_time: 100 },
    },
  })
})

const version = (text: string) => {
  const parsed = parseFirecrackerVersion(text)
  if (parsed === undefined) throw new Error(text)
  return parsed
}

test.each([
  ['pmem', { pmem: [{ id: 'p', path: 'f' }] }, '1.13.2', '1.14.0'],
  [
    'the limit of a pmem device',
    { pmem: [{ id: 'p', path: 'f', rateLimit: { bandwidth } }] },
    '1.15.1',
    '1.16.0',
  ],
  ['memory to plug', { hotplugMemory: { totalMib: 1024 } }, '1.13.2', '1.14.0'],
  ['hinting', { balloon: { targetMib: 0, hinting: true } }, '1.13.2', '1.14.0'],
  ['reporting', { balloon: { targetMib: 0, reporting: true } }, '1.13.2', '1.14.0'],
  ['answers as EC2', { mmds: { interfaces: [], imdsCompatible: true } }, '1.12.1', '1.13.0'],
  ['mtu', { network: [{ id: 'e', tap: 't', mtu: 1400 }] }, '1.15.1', '1.16.0'],
  ['the limit of the console', { serialLimit: bandwidth }, '1.15.1', '1.16.0'],
] as const)('%s needs a newer release', (_, part, without, since) => {
  const check = (text: string) => {
    for (const { call, body } of deviceRequests({ ...least, ...part })) requireApi(call, body, version(text))
  }
  expect(() => check(without)).toThrow(expect.objectContaining({ code: 'VERSION_UNSUPPORTED' }))
  check(since)
})
