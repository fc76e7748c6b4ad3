import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runsOf } from '../../memory/page-set.js'
import { byteOffset, guestAddress } from '../../memory/units.js'
import { stateFormats } from '../state-file/formats.js'
import type { MemoryRegion } from '../state-file/regions.js'
import { explainRegions } from './explain-regions.js'
import { inspectMemoryFile, memoryExtents } from './inspect-memory-file.js'
import { inspectStateFile, isStateFile } from './inspect-state-file.js'

const golden = fileURLToPath(new URL('../../../../../test/golden/firecracker', import.meta.url))
const page = 4096
const GiB = 2 ** 30

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-inspect-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const region = (
  address: number,
  sizeBytes: number,
  fileOffset: number,
  plugged?: boolean[],
): MemoryRegion => ({
  guestAddress: guestAddress(address),
  sizeBytes,
  fileOffset: byteOffset(fileOffset),
  type: plugged ? 'hotpluggable' : 'dram',
  plugged: plugged ?? [true],
})

/** A sparse file of `sizeBytes` with the given pages written: 'd' data, 'z' zeros, anything else a hole. */
function memoryFile(name: string, map: string, sizeBytes = map.length * page): string {
  const path = join(folder, name)
  const fd = openSync(path, 'w', 0o600)
  ftruncateSync(fd, sizeBytes)
  for (const [index, kind] of [...map].entries())
    if (kind === 'd' || kind === 'z') {
      const bytes = Buffer.alloc(page)
      // The last byte only: a scan that stops early would miss it.
      if (kind === 'd') bytes[page - 1] = 1
      writeSync(fd, bytes, 0, page, index * page)
    }
  closeSync(fd)
  return path
}

describe('inspectMemoryFile', () => {
  test('tells data, stored zeros and holes apart, page by page', async () => {
    const map = 'ddz..zd....zzd..'
    const report = await inspectMemoryFile(memoryFile('mixed', map))
    const kinds = [...memoryExtents(report)].flatMap(({ startBytes, endBytes, kind }) =>
      Array.from({ length: (endBytes - startBytes) / page }, () => (kind === 'hole' ? '.' : kind[0])),
    )
    expect(kinds.join('')).toBe(map)
    expect(report).toMatchObject({
      sizeBytes: 16 * page,
      memoryBytes: 16 * page,
      missingBytes: 0,
      trailingBytes: 0,
      dataBytes: 4 * page,
      zeroBytes: 4 * page,
      holeBytes: 8 * page,
      regions: [],
    })
    expect(report.allocatedBytes).toBeLessThan(report.sizeBytes)
  })

  test('extents longer than one read, and progress', async () => {
    const seen: number[] = []
    const map = `${'d'.repeat(700)}${'.'.repeat(600)}${'z'.repeat(1100)}`
    const report = await inspectMemoryFile(memoryFile('long', map), [], { onProgress: (it) => seen.push(it) })
    expect([...runsOf(report.data)]).toEqual([{ start: 0, count: 700 }])
    expect([...runsOf(report.zero)]).toEqual([{ start: 1300, count: 1100 }])
    expect([...runsOf(report.hole)]).toEqual([{ start: 700, count: 600 }])
    expect(seen.at(-1)).toBe(1800 * page)
    expect(seen.length).toBeGreaterThan(3)
  })

  test('by region, at the offsets that the list gives', async () => {
    const path = memoryFile('regions', 'dd..zzzd')
    const { regions } = await inspectMemoryFile(path, [
      region(0, 4 * page, 4 * page),
      region(4 * GiB, 4 * page, 0),
    ])
    expect(regions).toEqual([
      { dataBytes: page, zeroBytes: 3 * page, holeBytes: 0 },
      { dataBytes: 2 * page, zeroBytes: 0, holeBytes: 2 * page },
    ])
  })

  test('a file shorter or longer than its regions', async () => {
    const path = memoryFile('longer', 'd..d', 4 * page + 100)
    expect(await inspectMemoryFile(path, [region(0, 2 * page, 0)])).toMatchObject({
      memoryBytes: 2 * page,
      trailingBytes: 2 * page + 100,
      missingBytes: 0,
      dataBytes: page,
    })
    expect(await inspectMemoryFile(path, [region(0, 8 * page, 0)])).toMatchObject({
      trailingBytes: 0,
      missingBytes: 4 * page - 100,
      dataBytes: 2 * page,
    })
  })

  test('an abort ends it; a missing file, a directory and an empty file', async () => {
    const path = memoryFile('aborted', 'd')
    const aborted = inspectMemoryFile(path, [], { signal: AbortSignal.abort() })
    await expect(aborted).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await expect(inspectMemoryFile(join(folder, 'none'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(inspectMemoryFile(folder)).rejects.toMatchObject({ code: 'PATH_INVALID' })
    expect(await inspectMemoryFile(memoryFile('empty', ''))).toMatchObject({ memoryBytes: 0, dataBytes: 0 })
  })
})

describe('inspectStateFile', () => {
  test('a golden file, with the gap explained', async () => {
    const path = join(golden, '1.16.1/two-regions/state')
    const report = await inspectStateFile(path)
    expect(report).toMatchObject({ path, snapshotVersion: '10.0.0', memoryFileBytes: 4 * GiB })
    expect(report.explanation).toEqual([
      'MMIO gap: 0xc0000000 to 0xffffffff (1 GiB) is no memory but device registers (virtio, IO-APIC, local APIC), as usual for Firecracker 1.16.0 or 1.16.1. Memory goes on at 4 GiB.',
    ])
    expect(await isStateFile(path)).toBe(true)
    expect(await isStateFile(join(golden, '1.16.1/two-regions/expect.json'))).toBe(false)
  })

  test('up to 1.12 the gap has 768 MiB; a small machine lies below it', async () => {
    const two = await inspectStateFile(join(golden, '1.12.1/two-regions/state'))
    expect(two.explanation.join()).toContain('0xd0000000 to 0xffffffff (768 MiB)')
    const one = await inspectStateFile(join(golden, '1.12.1/small/state'))
    expect(one.explanation).toEqual([
      'All DRAM lies below the MMIO gap (768 MiB below 4 GiB, from 0xd0000000), which Firecracker 1.12.0 or 1.12.1 keeps free for devices.',
    ])
  })

  test('errors name the file and keep the place', async () => {
    const path = join(folder, 'damaged')
    const bytes = readFileSync(join(golden, '1.14.4/small/state'))
    bytes.writeUInt8(bytes.readUInt8(3000) ^ 1, 3000)
    writeFileSync(path, bytes)
    await expect(inspectStateFile(path)).rejects.toMatchObject({
      code: 'CHECKSUM_MISMATCH',
      message: expect.stringContaining(path),
      details: { path, offset: bytes.length - 8 },
    })
  })
})

describe('explainRegions', () => {
  const format = (version: string) =>
    stateFormats.find((it) => it.snapshotVersion === version) as (typeof stateFormats)[number]

  test('aarch64, the far gap, splits, hotpluggable memory and edited offsets', () => {
    const arm = explainRegions({
      arch: 'aarch64',
      format: format('9.0.0'),
      regions: [
        region(2 * GiB, 254 * GiB, 0),
        region(512 * GiB, GiB, 254 * GiB),
        region(513 * GiB, GiB, 255 * GiB),
      ],
    })
    expect(arm).toEqual([
      expect.stringContaining('begins at 2 GiB'),
      expect.stringContaining('64-bit MMIO gap: 0x4000000000 to 0x7fffffffff (256 GiB)'),
      expect.stringContaining('Two regions meet at 0x8040000000'),
    ])
    const hot = explainRegions({
      arch: 'x86_64',
      format: format('10.0.0'),
      regions: [region(0, GiB, 0), region(512 * GiB, GiB / 2, GiB, [true, false, false, false])],
    })
    expect(hot[1]).toContain('unused')
    expect(hot[2]).toContain('1 of 4 slots of 128 MiB')
    const edited = explainRegions({
      arch: 'x86_64',
      format: format('4.0.0'),
      regions: [region(0, GiB, GiB), region(GiB, GiB, 0)],
    })
    expect(edited.at(-1)).toContain('this list was edited')
  })
})
