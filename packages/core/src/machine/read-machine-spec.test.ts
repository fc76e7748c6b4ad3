import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { machineSpec, readMachineSpec } from './read-machine-spec.js'

const bandwidth = { size: 1_048_576, refillMs: 100, burst: 4096 }
const whole = {
  name: 'web-1',
  kernel: 'vmlinux',
  initrd: 'initrd',
  bootArgs: 'quiet',
  memoryMib: 256,
  vcpus: 2,
  rootDisk: { path: 'root.ext4', readOnly: true },
  disks: [{ id: 'data', path: 'data.ext4', cache: 'writeback', engine: 'async', rateLimit: {} }],
  pmem: [{ id: 'ro', path: 'ro.img', readOnly: true, root: false }],
  vsockCid: 3,
  guestAgent: { port: 1024 },
  network: [{ id: 'eth0', tap: 'tap0', mac: '06:00:00:00:00:01', mtu: 1400, receiveLimit: { bandwidth } }],
  mmds: { interfaces: ['eth0'], version: 'v2', address: '169.254.1.1', imdsCompatible: true },
  balloon: { targetMib: 8, deflateOnOom: true, statisticsSeconds: 1, hinting: true, reporting: true },
  hotplugMemory: { totalMib: 1024, blockMib: 2, slotMib: 128 },
  cpuTemplate: 'T2',
  smt: false,
  serialLimit: bandwidth,
  entropy: { rateLimit: { bandwidth } },
  trackDirtyPages: false,
  hugePages: false,
}

test('every field passes, and what is left out stays out', () => {
  expect(machineSpec(whole)).toEqual(whole)
  expect(machineSpec({ kernel: 'k', memoryMib: 1, vcpus: 1 })).toEqual({
    kernel: 'k',
    memoryMib: 1,
    vcpus: 1,
  })
})

test('a guest without vsock has no agent that could be reached', () => {
  const { vsockCid: _, ...without } = whole
  expect(() => machineSpec(without)).toThrow(/guestAgent.*vsockCid/)
})

test.each([
  ['kernel', ''],
  ['kernel', 'a\0b'],
  ['memoryMib', 0],
  ['memoryMib', 1.5],
  ['vcpus', 33],
  ['vcpus', '1'],
  ['vsockCid', 2],
  ['guestAgent', { port: 0 }],
  ['guestAgent', true],
  ['name', '../x'],
  ['entropy', 1],
  ['rootDisk', {}],
  ['disks', [{ id: 'x' }]],
  ['disks', Array(33).fill({ id: 'x', path: 'y' })],
  ['cores', 2],
  ['disks', [{ id: 'x', path: 'y', cache: 'Unsafe' }]],
  ['disks', [{ id: 'x', path: 'y', rateLimit: { bandwidth: { size: 0, refillMs: 1 } } }]],
  ['disks', [{ id: 'x', path: 'y', rateLimit: { bytes: bandwidth } }]],
  ['pmem', [{ id: 'x', path: 'y', cache: 'unsafe' }]],
  ['mmds', { interfaces: ['eth1'] }],
  ['balloon', {}],
  ['balloon', { targetMib: -1 }],
  ['hotplugMemory', { totalMib: 0 }],
  ['cpuTemplate', 2],
  ['serialLimit', { size: 1 }],
  ['entropy', { rateLimit: 1 }],
  ['__proto__x', 1],
])('%s = %j is refused by name', (field, value) => {
  expect(() => machineSpec({ ...whole, [field]: value })).toThrow(VarveError)
  expect(() => machineSpec({ ...whole, [field]: value })).toThrow(field === 'name' ? '../x' : field)
})

test('whatever the value is, only a VarveError comes out', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.anything(),
        fc.record({ kernel: fc.anything(), memoryMib: fc.anything(), vcpus: fc.anything() }),
      ),
      (value) => {
        try {
          machineSpec(value)
        } catch (error) {
          expect(error).toBeInstanceOf(VarveError)
        }
      },
    ),
  )
})

test('a spec file that is missing, not JSON or too large says so', () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-spec-'))
  const path = join(directory, 'spec.json')
  expect(() => readMachineSpec(path)).toThrow('ENOENT')
  writeFileSync(path, '{')
  expect(() => readMachineSpec(path)).toThrow(path)
  writeFileSync(path, ' '.repeat(1024 * 1024 + 1))
  expect(() => readMachineSpec(path)).toThrow('exceeds')
  writeFileSync(path, JSON.stringify(whole))
  expect(readMachineSpec(path)).toEqual(whole)
  rmSync(directory, { recursive: true })
})
