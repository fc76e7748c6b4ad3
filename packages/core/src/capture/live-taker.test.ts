import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { hasFinePages } from '../layer/index-memory-file.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import { whyNotLive } from './live-taker.js'

let directory: string
beforeEach((context) => {
  if (process.arch !== 'x64') context.skip('live capture is for x86_64')
  directory = mkdtempSync(join('/dev/shm', 'varve-live-taker-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const machine = () => ({ id: 'web', paths: { directory } }) as unknown as MachineHandle
const config = (hotplugMib?: number) =>
  ({
    'machine-config': { vcpu_count: 1, mem_size_mib: 128 },
    ...(hotplugMib === undefined
      ? {}
      : { 'memory-hotplug': { total_size_mib: hotplugMib, block_size_mib: 2, slot_size_mib: 128 } }),
  }) as unknown as FullVmConfiguration

test('a machine with memory for hot-plugging is not captured live, plugged in or not', () => {
  expect(whyNotLive(machine(), config(1024))).toBe('web has memory for hot-plugging')
})

test.each([undefined, 0])('a machine whose hot-pluggable memory is %s may be captured live', (hotplugMib) => {
  expect(hasFinePages(directory)).toBe(true)
  expect(whyNotLive(machine(), config(hotplugMib))).toBeUndefined()
})
