import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readRegions, writeRegions } from './bitcode-parts.js'
import { ByteReader } from './byte-reader.js'
import { ByteWriter } from './byte-writer.js'
import { writeCrc } from './crc64.js'
import { goldenStatePaths } from './made-files/seeds.js'
import { readStateFile } from './read-state-file.js'
import type { MemoryRegion } from './regions.js'
import { replaceRegions } from './replace-regions.js'

const golden = fileURLToPath(new URL('../../../../../test/golden', import.meta.url))
const firecracker = join(golden, 'firecracker')
const paths = goldenStatePaths(firecracker)

interface Expectation {
  readonly firecracker: string
  readonly mem_size_mib: number
  readonly mem_file_bytes: number
  readonly regions: readonly { base_address: number; size: number }[]
}

const versions: Readonly<Record<string, readonly [version: string, encoding: string]>> = {
  '1.10.1': ['4.0.0', 'bincode'],
  '1.12.1': ['6.0.0', 'bincode'],
  '1.14.4': ['8.0.0', 'bincode'],
  '1.16.1': ['10.0.0', 'bitcode'],
}

describe('11.0.0, which no released Firecracker writes', () => {
  // The prefix is that of 10.0.0 but for the version and the number of huge_pages.
  const file = new Uint8Array(readFileSync(join(firecracker, '1.16.1/two-regions/state')))
  const ten = readStateFile(file)
  const at = Buffer.from(file).indexOf('10.0.0')
  const eleven = file.slice()
  eleven.set(Buffer.from('11.0.0'), at)
  // The lengths of no capability modifiers stand between huge_pages and the region list.
  const hugePagesAt = ten.regionList.start - 2

  test.each([0, 1, 2])('regions and memory are read, huge_pages %i is not known', (number) => {
    expect(eleven[hugePagesAt]).toBe(0)
    const bytes = eleven.slice()
    bytes[hugePagesAt] = number
    writeCrc(bytes)
    const read = readStateFile(bytes)
    expect(read).toMatchObject({
      snapshotVersion: '11.0.0',
      firecracker: expect.stringContaining('not released'),
      regions: ten.regions,
      memoryFileBytes: ten.memoryFileBytes,
    })
    expect(read.vmInfo).toEqual({ ...ten.vmInfo, hugePages: 'not known' })
  })

  test('12.0.0 is refused, and the versions that are known are named', () => {
    const bytes = file.slice()
    bytes.set(Buffer.from('12.0.0'), at)
    writeCrc(bytes)
    expect(() => readStateFile(bytes)).toThrow(
      /12\.0\.0 in bitcode is not known; known are .*10\.0\.0, 11\.0\.0/,
    )
  })
})

describe('golden state files', () => {
  test('are all there', () => {
    expect(paths.map((path) => relative(firecracker, path))).toEqual([
      '1.10.1/small/state',
      '1.10.1/two-regions/state',
      '1.12.1/small/state',
      '1.12.1/two-regions/state',
      '1.14.4/small/state',
      '1.16.1/small/state',
      '1.16.1/two-regions/state',
    ])
  })

  test.each(paths.map((path) => [relative(firecracker, path), path]))('%s', (_name, path) => {
    const bytes = new Uint8Array(readFileSync(path))
    const expected = JSON.parse(readFileSync(join(dirname(path), 'expect.json'), 'utf8')) as Expectation
    const state = readStateFile(bytes)

    expect([state.snapshotVersion, state.encoding]).toEqual(versions[expected.firecracker])
    expect(state.arch).toBe('x86_64')
    expect(state.vmInfo).toEqual({
      memSizeMib: expected.mem_size_mib,
      smt: false,
      cpuTemplate: 'None',
      kernelPath: 'guest.elf',
      initrdPath: undefined,
      bootArgs: 'console=ttyS0 reboot=k',
      hugePages: 'None',
    })
    expect(state.capModifiers).toEqual(state.snapshotVersion === '4.0.0' ? undefined : [])
    expect(state.regions.map((it) => ({ base_address: it.guestAddress, size: it.sizeBytes }))).toEqual(
      expected.regions,
    )
    expect(state.memoryFileBytes).toBe(expected.mem_file_bytes)
    expect(state.fileOffsets).toBe(state.snapshotVersion === '4.0.0' ? 'explicit' : 'cumulative')
    let sum = 0
    for (const region of state.regions) {
      expect(region).toMatchObject({ fileOffset: sum, type: 'dram', plugged: [true] })
      sum += region.sizeBytes
    }

    expect(replaceRegions(bytes, state.regions)).toEqual(bytes)
  })

  test('one region more, and back, gives the same file', () => {
    for (const path of paths) {
      const bytes = new Uint8Array(readFileSync(path))
      const { regions } = readStateFile(bytes)
      const first = regions[0] as MemoryRegion
      const half = first.sizeBytes / 2
      const split = replaceRegions(bytes, [
        { guestAddress: first.guestAddress, sizeBytes: half },
        { guestAddress: first.guestAddress + half, sizeBytes: half },
        ...regions.slice(1).map(({ guestAddress, sizeBytes }) => ({ guestAddress, sizeBytes })),
      ])
      expect(readStateFile(split).regions.length).toBe(regions.length + 1)
      expect(readStateFile(split).memoryFileBytes).toBe(readStateFile(bytes).memoryFileBytes)
      expect(replaceRegions(split, regions)).toEqual(bytes)
    }
  })
})

interface Vector {
  readonly name: string
  readonly regions: readonly [address: number, size: number, type: 0 | 1, slots: string][]
  readonly hex: string
}

describe('lists encoded by bitcode itself', () => {
  const vectors = JSON.parse(readFileSync(join(golden, 'bitcode/region-lists.json'), 'utf8')) as Vector[]

  test.each(vectors.map((it) => [it.name, it] as const))('%s', (_name, { regions, hex }) => {
    const reader = new ByteReader(Buffer.from(hex, 'hex'))
    const read = readRegions(reader)
    expect(reader.remaining).toBe(0)
    expect(
      read.map((it) => [
        it.guestAddress,
        it.sizeBytes,
        it.type === 'dram' ? 0 : 1,
        it.plugged.map(Number).join(''),
      ]),
    ).toEqual(regions)
    const writer = new ByteWriter()
    writeRegions(writer, read)
    expect(Buffer.from(writer.finish()).toString('hex')).toBe(hex)
  })

  test('a whole prefix: long texts, initrd, template, huge pages, cap modifiers', () => {
    const message = Buffer.from(readFileSync(join(golden, 'bitcode/state-9.0.0.hex'), 'utf8').trim(), 'hex')
    const bytes = new Uint8Array(message.length + 8)
    bytes.set(message)
    writeCrc(bytes)
    const state = readStateFile(bytes)
    expect(state.snapshotVersion).toBe('9.0.0')
    expect(state.vmInfo).toEqual({
      memSizeMib: 70_000,
      smt: true,
      cpuTemplate: 'T2S',
      kernelPath: 'k'.repeat(300),
      initrdPath: 'initrd.img',
      bootArgs: undefined,
      hugePages: '2M',
    })
    expect(state.capModifiers).toEqual(['12', '!199', '7', 'é'])
    expect(state.regions.map((it) => it.guestAddress)).toEqual(
      Array.from({ length: 6 }, (_, i) => 2 ** 40 + i * 2 ** 21),
    )
    // Behind the list stands Vec<u64> [1, 2, 3]: a length, width 1, base 4.
    expect(Buffer.from(bytes.subarray(state.regionList.end, -8)).toString('hex')).toBe('03060639')
    expect(replaceRegions(bytes, state.regions)).toEqual(bytes)
  })
})
