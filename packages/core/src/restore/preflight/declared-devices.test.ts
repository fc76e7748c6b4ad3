import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { FullVmConfiguration } from '../../firecracker/api-types.js'
import { hostFiles } from '../../firecracker/vmm-files.js'
import type { OpenSnapshot } from '../../store/snapshot-types.js'
import { openFileIdentities } from '../../sys/proc.js'
import { assertLoadedDeclared, type DeviceOverrides, declaredDevices } from './declared-devices.js'

const directory = mkdtempSync(join(tmpdir(), 'varve-devices-'))
afterAll(() => rmSync(directory, { recursive: true }))

const config = {
  'machine-config': { vcpu_count: 1, mem_size_mib: 128 },
  drives: [
    { drive_id: 'data', is_root_device: false, path_on_host: 'disk-data', is_read_only: false },
    { drive_id: 'fixed', is_root_device: true, path_on_host: 'disk-fixed', is_read_only: true },
  ],
  pmem: [{ id: 'pmem0', path_on_host: 'disk-pmem0', read_only: true }],
  vsock: { guest_cid: 3, uds_path: 'vsock.sock' },
  'network-interfaces': [{ iface_id: 'eth0', host_dev_name: 'tap0' }],
} as const satisfies FullVmConfiguration
const disks = [
  { drive: 'data', file: 'disk-data', readOnly: false, sizeBytes: 1 },
  { drive: 'fixed', file: 'disk-fixed', readOnly: true, sizeBytes: 1 },
  { drive: 'pmem0', file: 'disk-pmem0', readOnly: true, sizeBytes: 1 },
]

/** As if this process were the VMM that loaded the snapshot. */
function check(
  loaded: FullVmConfiguration,
  overrides: DeviceOverrides = {},
  whileOpen?: () => void,
): Promise<void> {
  const snapshot = { entry: { id: 'an-id' }, config: { disks, machine: config } } as unknown as OpenSnapshot
  const before = openFileIdentities(process.pid)
  whileOpen?.()
  const machine = { pid: process.pid, files: hostFiles(directory) }
  return assertLoadedDeclared(machine, loaded, declaredDevices(snapshot, overrides), before)
}

const [data, fixed] = config.drives
const others: [string, Partial<FullVmConfiguration>, string][] = [
  ['one more drive', { drives: [data, { ...data, drive_id: 'more' }] }, 'drive more'],
  ['a drive on another file', { drives: [{ ...data, path_on_host: '/etc/shadow' }] }, '/etc/shadow'],
  ['a drive on the file of another', { drives: [{ ...data, path_on_host: 'disk-fixed' }] }, 'drive data'],
  ['a drive for writing', { drives: [{ ...fixed, is_read_only: false }] }, 'for writing'],
  [
    'a drive that does not say',
    { drives: [{ drive_id: 'fixed', is_root_device: true, path_on_host: 'disk-fixed' }] },
    'for writing',
  ],
  [
    'a vhost-user drive',
    { drives: [{ drive_id: 'user', is_root_device: false, socket: '/run/x.sock' }] },
    'drive user',
  ],
  [
    'a pmem device on another file',
    { pmem: [{ ...config.pmem[0], path_on_host: 'machine.json' }] },
    'machine.json',
  ],
  ['a pmem device for writing', { pmem: [{ ...config.pmem[0], read_only: false }] }, 'for writing'],
  ['another vsock socket', { vsock: { guest_cid: 3, uds_path: '/run/docker.sock' } }, '/run/docker.sock'],
  ['another tap device', { 'network-interfaces': [{ iface_id: 'eth0', host_dev_name: 'tap1' }] }, 'tap1'],
  ['one more interface', { 'network-interfaces': [{ iface_id: 'eth1', host_dev_name: 'tap0' }] }, 'eth1'],
]

describe('what a loaded machine uses of the host', () => {
  test('is what its snapshot names', async () => {
    await check(config)
    await check({ ...config, drives: [], vsock: null })
  })

  test.each(others)('may not be %s', async (_what, change, named) => {
    await expect(check({ ...config, ...change })).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining(named),
    })
  })

  test('may be what the caller names, and then nothing else', async () => {
    const overrides = { vsockPath: 'v2.sock', networkOverrides: { eth0: 'tap7' } }
    const loaded = {
      ...config,
      vsock: { guest_cid: 3, uds_path: 'v2.sock' },
      'network-interfaces': [{ iface_id: 'eth0', host_dev_name: 'tap7' }],
    }
    await check(loaded, overrides)
    await expect(check(config, overrides)).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
  })

  test('may not be a file of a device that Firecracker does not tell of', async () => {
    const path = join(directory, 'victim')
    writeFileSync(path, 'victim')
    let fd = -1
    const open = (flags: string) => () => {
      fd = openSync(path, flags)
    }
    await expect(check(config, {}, open('r+'))).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining(path),
    })
    closeSync(fd)
    await check(config, {}, open('r'))
    closeSync(fd)
    writeFileSync(join(directory, 'disk-data'), '')
    await check(config, {}, () => {
      fd = openSync(join(directory, 'disk-data'), 'r+')
    })
    closeSync(fd)
    expect(readFileSync(path, 'utf8')).toBe('victim')
  })
})
