import { describe, expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import type { FullVmConfiguration, HotplugMemory } from './api-types.js'
import { assertDiffSafe, hasSlotBug } from './diff-safety.js'
import { parseFirecrackerVersion } from './version.js'

const config = (memoryMib: number, hotplug?: HotplugMemory | null): FullVmConfiguration => ({
  'machine-config': { vcpu_count: 1, mem_size_mib: memoryMib },
  ...(hotplug === undefined ? {} : { 'memory-hotplug': hotplug }),
})

function refusal(version: string, of: FullVmConfiguration, arch?: string): VarveError | undefined {
  try {
    assertDiffSafe(parseFirecrackerVersion(version), of, arch)
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(VarveError)
    return error as VarveError
  }
}

const wrong = ['1.14.0', '1.14.1']
const right = ['1.10.1', '1.12.1', '1.13.2', '1.14.2', '1.14.4', '1.15.0', '1.16.1']
const plug: HotplugMemory = { total_size_mib: 512, block_size_mib: 2, slot_size_mib: 128 }

describe.each(wrong)('%s', (version) => {
  test.each([
    ['x64', 3072],
    ['x64', 128],
    ['arm64', 3073],
    ['arm64', 254 * 1024],
  ])('%s: %i MiB is one slot', (arch, memoryMib) => {
    expect(refusal(version, config(memoryMib), arch)).toBeUndefined()
    expect(refusal(version, config(memoryMib, null), arch)).toBeUndefined()
  })

  test.each([
    ['x64', 3073],
    ['x64', 300 * 1024],
    ['arm64', 254 * 1024 + 1],
    ['riscv64', 128],
  ])('%s: %i MiB is refused', (arch, memoryMib) => {
    const error = refusal(version, config(memoryMib), arch)
    expect(error?.code).toBe('VERSION_UNSUPPORTED')
    expect(error?.message).toContain(version)
    expect(error?.message).toContain(`${memoryMib} MiB`)
    expect(error?.remedy).toContain('1.14.2')
  })

  test('memory to be plugged in is more slots, however small the guest', () => {
    const error = refusal(version, config(128, plug), 'x64')
    expect(error?.code).toBe('VERSION_UNSUPPORTED')
    expect(error?.details).toMatchObject({ memoryMib: 128, hotplugMib: 512 })
  })

  test('needs the look', () => {
    expect(hasSlotBug(parseFirecrackerVersion(version))).toBe(true)
  })
})

test.each(right)('%s takes Diffs of any guest', (version) => {
  expect(hasSlotBug(parseFirecrackerVersion(version))).toBe(false)
  for (const arch of ['x64', 'arm64'])
    for (const of of [config(128), config(3073), config(128, plug), config(500 * 1024, plug)])
      expect(refusal(version, of, arch)).toBeUndefined()
})
