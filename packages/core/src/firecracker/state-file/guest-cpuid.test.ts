import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { flagsShown } from '../../host/cpu-flags.js'
import { writeCrc } from './crc64.js'
import { guestCpuid, maxVcpus, vendorOfCpuid } from './guest-cpuid.js'

const golden = fileURLToPath(new URL('../../../../../test/golden/firecracker', import.meta.url))
const read = (name: string) => readFileSync(join(golden, name, 'state'))
const leafZero = Buffer.from('GenuntelineI')

/** The state with these changes, and a right CRC. */
function changed(name: string, change: (bytes: Buffer, leafZeroAt: number) => void): Buffer {
  const bytes = read(name)
  change(bytes, bytes.indexOf(leafZero) - 16)
  writeCrc(bytes)
  return bytes
}

describe('CPUID in a state file', () => {
  test.each([
    ['1.10.1/small', 1],
    ['1.12.1/small', 1],
    ['1.14.4/small', 1],
    ['1.10.1/two-regions', 2],
    ['1.12.1/two-regions', 2],
  ])('%s has a list of 77 entries for each of its %i vCPUs', (name, vcpus) => {
    const lists = guestCpuid(read(name)) ?? []
    expect(lists.map((list) => list.length)).toEqual(Array(vcpus).fill(77))
    for (const list of lists) {
      expect(vendorOfCpuid(list)).toBe('GenuineIntel')
      expect(list.find(({ leaf, subleaf }) => leaf === 7 && subleaf === 0)).toMatchObject({
        eax: 2,
        ebx: 0xf1bf2bfb,
        ecx: 0x1a005f46,
        edx: 0x20814010,
      })
      const flags = flagsShown(list)
      for (const flag of ['avx512f', 'avx512_fp16', 'sha_ni', 'pni', 'lm', 'lahf_lm', 'sse2'])
        expect(flags).toContain(flag)
      // Bits that are not set, and features that KVM shows on any CPU.
      for (const flag of ['pku', 'svm', 'vmx', 'amx_tile', 'x2apic', 'umip'])
        expect(flags).not.toContain(flag)
    }
  })

  test('is not read from bitcode', () => {
    expect(guestCpuid(read('1.16.1/small'))).toBeUndefined()
  })

  test.each<[string, (bytes: Buffer, at: number) => void]>([
    ['an unknown vendor', (bytes, at) => bytes.write('Nobo', at + 16)],
    ['a first entry of another leaf', (bytes, at) => bytes.writeUInt32LE(1, at)],
    ['a count of 0', (bytes, at) => bytes.writeUInt32LE(0, at - 16)],
    ['two counts', (bytes, at) => bytes.writeUInt32LE(78, at - 24)],
    [
      'a count that KVM refuses',
      (bytes, at) => {
        bytes.writeUInt32LE(257, at - 16)
        bytes.writeUInt32LE(257, at - 24)
      },
    ],
    ['a count past the end', (bytes, at) => bytes.writeUInt32LE(0xffffffff, at - 12)],
    ['another length of an entry', (bytes, at) => bytes.writeUInt32LE(41, at + 48 * 76 - 8)],
    ['padding that is not zero', (bytes, at) => bytes.writeUInt32LE(1, at + 48 * 76 + 36)],
  ])('%s: nothing is found', (_, change) => {
    expect(guestCpuid(changed('1.12.1/small', change))).toEqual([])
  })

  test('a file full of lists costs no more than reading it', () => {
    const small = read('1.12.1/small')
    const list = small.subarray(small.indexOf(leafZero) - 16 - 32, small.indexOf(leafZero) + 24)
    const one = Buffer.from(list)
    // The head says 256 entries and the next entry is no such: each try reads up to two entries.
    one.writeUInt32LE(256, 8)
    one.writeUInt32LE(256, 16)
    const times = Math.floor(9_000_000 / one.length)
    const valid = Buffer.from(list)
    valid.writeUInt32LE(1, 8)
    valid.writeUInt32LE(1, 16)
    for (const [part, count] of [
      [one, 0],
      [valid, maxVcpus],
    ] as const) {
      const bytes = Buffer.concat([
        small.subarray(0, -8),
        ...Array<Buffer>(times).fill(part),
        small.subarray(-8),
      ])
      writeCrc(bytes)
      const from = performance.now()
      expect(guestCpuid(bytes)?.length).toBe(count === 0 ? 1 : count)
      expect(performance.now() - from).toBeLessThan(5000)
    }
  })
})
