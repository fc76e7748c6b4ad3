import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type ErrorCode, isVarveError, type VarveError } from '../../errors.js'
import { writeCrc } from './crc64.js'
import { type StateFormat, stateFormats } from './formats.js'
import { buildStateFile } from './made-files/synthetic-state-file.js'
import { readStateFile } from './read-state-file.js'
import { type RegionSpec, replaceRegions } from './replace-regions.js'

const goldenFolder = fileURLToPath(new URL('../../../../../test/golden/firecracker', import.meta.url))
const golden = (name: string): Uint8Array => new Uint8Array(readFileSync(join(goldenFolder, name, 'state')))

const MiB = 2 ** 20

function refusal(run: () => unknown): VarveError {
  try {
    run()
  } catch (error) {
    if (isVarveError(error)) return error
    throw error
  }
  throw new Error('nothing was refused')
}

/** `patch` is put at `offset`, the CRC made right. */
function patched(bytes: Uint8Array, offset: number, patch: string): Uint8Array {
  const copy = bytes.slice()
  copy.set(Buffer.from(patch, 'hex'), offset)
  writeCrc(copy)
  return copy
}

const formatOf = (version: string, index = 0): StateFormat =>
  stateFormats.filter((it) => it.snapshotVersion === version)[index] as StateFormat

const made = (format: StateFormat, regions: readonly RegionSpec[], memSizeMib: number): Uint8Array =>
  buildStateFile({
    format,
    arch: 'x86_64',
    vmInfo: {
      memSizeMib,
      smt: false,
      cpuTemplate: 'None',
      kernelPath: 'k',
      initrdPath: undefined,
      bootArgs: undefined,
      hugePages: 'None',
    },
    regions,
  })

describe('files that are refused', () => {
  const small = golden('1.10.1/small')

  test.each<[string, Uint8Array, ErrorCode, string]>([
    ['empty', new Uint8Array(0), 'FORMAT_INVALID', 'byte 0'],
    ['another file', new TextEncoder().encode('{"layers":[]}'), 'FORMAT_INVALID', 'is not its magic'],
    ['only a magic', small.slice(0, 8), 'CHECKSUM_MISMATCH', 'byte 0'],
    ['cut short', small.slice(0, 9000), 'CHECKSUM_MISMATCH', 'byte 8992'],
    [
      'one bit wrong',
      small.with(5000, (small[5000] as number) ^ 4),
      'CHECKSUM_MISMATCH',
      'CRC at byte 16497',
    ],
    ['too large', new Uint8Array(10 * MiB + 1), 'FORMAT_INVALID', '10485760'],
    ['data version of 1.6', patched(small, 0, '0100'), 'FORMAT_UNSUPPORTED', '1.6 or older'],
    ['version 9.9.0', patched(small, 16, '392e392e30'), 'FORMAT_UNSUPPORTED', 'known are 1.0.0'],
    ['version 4.1.0', patched(small, 16, '342e312e30'), 'FORMAT_UNSUPPORTED', '4.1.0'],
    ['version 7.0.0', patched(small, 16, '372e302e30'), 'FORMAT_UNSUPPORTED', '7.0.0'],
    ['no version', patched(small, 16, '3432302e30'), 'FORMAT_INVALID', 'MAJOR.MINOR.PATCH'],
    ['endless version', patched(small, 8, 'ffffffffffffff7f'), 'FORMAT_INVALID', 'byte 8'],
    ['version up to the end', patched(small, 8, 'ffff'), 'FORMAT_INVALID', 'length of version'],
    ['smt of 2', patched(small, 29, '02'), 'FORMAT_INVALID', 'byte 29: smt'],
    ['CPU template 6', patched(small, 30, '06'), 'FORMAT_INVALID', 'byte 30: cpu_template'],
    [
      'kernel path not UTF-8',
      patched(small, 42, 'ff'),
      'FORMAT_INVALID',
      'byte 42: kernel path is not UTF-8',
    ],
    ['no region', patched(small, 87, '00'), 'FORMAT_INVALID', 'there is no memory region'],
    ['2^64 - 1 regions', patched(small, 87, 'ffffffffffffffff'), 'FORMAT_INVALID', 'byte 87'],
    ['65,537 regions', patched(small, 87, '010001'), 'FORMAT_INVALID', '65537 is above 65536'],
    ['more regions than bytes', patched(small, 87, 'ffff'), 'FORMAT_INVALID', 'needs more bytes'],
    ['address of 2^53', patched(small, 95, '0000000000002000'), 'FORMAT_INVALID', 'byte 95'],
    [
      'address not aligned',
      patched(small, 95, '0100'),
      'FORMAT_INVALID',
      'guest address 1 is not a multiple',
    ],
    ['size of 0', patched(small, 103, '0000000000000000'), 'FORMAT_INVALID', 'size 0 is not positive'],
    ['end beyond 2^53', patched(small, 95, '00f0ffffffff1f00'), 'FORMAT_INVALID', 'its end is beyond'],
  ])('%s', (_name, bytes, code, message) => {
    const error = refusal(() => readStateFile(bytes))
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(message)])
  })

  test('errors about a place say which, for programs too', () => {
    expect(refusal(() => readStateFile(patched(small, 29, '02'))).details).toEqual({ offset: 29 })
    expect(refusal(() => readStateFile(small.with(50, 0))).details).toMatchObject({ offset: 16_497 })
  })

  test('overlap; and order where Firecracker wants it', () => {
    const overlapping = [
      { guestAddress: 0, sizeBytes: 2 * MiB },
      { guestAddress: MiB, sizeBytes: MiB },
    ]
    const descending = [
      { guestAddress: 8 * MiB, sizeBytes: 2 * MiB },
      { guestAddress: 0, sizeBytes: MiB },
    ]
    for (const format of stateFormats) {
      expect(refusal(() => readStateFile(made(format, overlapping, 3))).message).toContain('overlap')
      const read = () => readStateFile(made(format, descending, 3)).regions.length
      if (format.ascending) expect(refusal(read).message).toContain('do not ascend')
      else expect(read()).toBe(2)
    }
  })

  test('bitcode: unknown packings and forged lengths', () => {
    const file = golden('1.16.1/two-regions')
    const at = readStateFile(file).regionList.start
    const code = (bytes: Uint8Array) => refusal(() => readStateFile(bytes)).message
    expect(code(patched(file, at + 1, '07'))).toContain('packing 7 is not known')
    expect(code(patched(file, at, 'ff00ffffffffffffffff'))).toContain('beyond 2^53 - 1')
    expect(code(patched(file, at, 'ff0000000001000000'))).toContain('above 65536')
    expect(code(patched(file, at, 'ff04ffff'))).toContain('guest addresses needs 524280 bytes')
  })

  test('slots: DRAM needs one that is plugged, and all together are bounded', () => {
    const dram = { guestAddress: 0, sizeBytes: MiB }
    const hot = (slots: number, index = 0): RegionSpec => ({
      guestAddress: 2 ** 40 + index * 2 ** 34,
      sizeBytes: slots * 4096,
      type: 'hotpluggable',
      plugged: Array.from({ length: slots }, () => false),
    })
    const format = formatOf('10.0.0')
    const message = (regions: RegionSpec[]) => refusal(() => readStateFile(made(format, regions, 1))).message
    expect(readStateFile(made(format, [dram, hot(65_535)], 1)).regions[1]?.plugged.length).toBe(65_535)
    expect(message([dram, hot(65_536)])).toContain('slots')
    expect(message([dram, hot(40_000), hot(40_000, 1)])).toContain('80001')
    expect(message([{ ...dram, plugged: [false] }])).toContain('exactly one slot')
    expect(message([{ ...dram, plugged: [true, true] }])).toContain('exactly one slot')
    expect(message([hot(4)])).toContain('no DRAM')
    expect(message([dram, { ...hot(3), sizeBytes: 4 * 4096 }])).toContain('whole pages')
  })
})

describe('the two 8.0.0', () => {
  const [of114, of113] = [formatOf('8.0.0', 0), formatOf('8.0.0', 1)]
  const regions = [
    { guestAddress: 0, sizeBytes: 3072 * MiB },
    { guestAddress: 2 ** 32, sizeBytes: 1024 * MiB },
  ]

  test('are told apart', () => {
    expect(readStateFile(made(of114, regions, 4096)).firecracker).toBe('1.14.0 to 1.14.4')
    expect(readStateFile(made(of113, regions, 4096)).firecracker).toBe('1.13.0 to 1.13.2')
  })

  test('a sum that is not mem_size_mib, or another tail, is neither', () => {
    const wrongSum = refusal(() => readStateFile(made(of113, regions, 4097)))
    expect(wrongSum).toMatchObject({ code: 'FORMAT_INVALID' })
    expect(wrongSum.message).toMatch(/not of Firecracker 1\.14.* and not of Firecracker 1\.13.*4097/)
    const file = made(of114, regions, 4096)
    const { end } = readStateFile(file).regionList
    expect(refusal(() => readStateFile(patched(file, end, '06'))).message).toContain('GSI allocator')
  })

  test('a list with another sum is not written', () => {
    const error = refusal(() => replaceRegions(made(of114, regions, 4096), regions.slice(0, 1)))
    expect(error.code).toBe('INVALID_ARGUMENT')
    expect(error.message).toContain('3072 MiB')
  })
})

describe('lists that are not written', () => {
  const dram = { guestAddress: 0, sizeBytes: 128 * MiB }
  const hot: RegionSpec = { guestAddress: 2 ** 39, sizeBytes: MiB, type: 'hotpluggable', plugged: [true] }

  test.each<[string, string, readonly RegionSpec[], ErrorCode]>([
    ['none', '1.16.1', [], 'INVALID_ARGUMENT'],
    ['not aligned', '1.12.1', [{ guestAddress: 0, sizeBytes: 5000 }], 'INVALID_ARGUMENT'],
    ['not a number', '1.12.1', [{ guestAddress: Number.NaN, sizeBytes: 4096 }], 'INVALID_ARGUMENT'],
    ['negative', '1.12.1', [{ guestAddress: 0, sizeBytes: -4096 }], 'INVALID_ARGUMENT'],
    ['overlapping', '1.16.1', [dram, { ...dram, guestAddress: MiB }], 'INVALID_ARGUMENT'],
    ['descending, 4.0.0', '1.10.1', [{ ...dram, guestAddress: 2 ** 32 }, dram], 'INVALID_ARGUMENT'],
    ['a free offset, 6.0.0', '1.12.1', [{ ...dram, fileOffset: 4096 }], 'VERSION_UNSUPPORTED'],
    ['a free offset, 10.0.0', '1.16.1', [{ ...dram, fileOffset: 4096 }], 'VERSION_UNSUPPORTED'],
    ['hotpluggable, 4.0.0', '1.10.1', [dram, hot], 'VERSION_UNSUPPORTED'],
    ['hotpluggable, 6.0.0', '1.12.1', [dram, hot], 'VERSION_UNSUPPORTED'],
    ['only hotpluggable', '1.16.1', [hot], 'INVALID_ARGUMENT'],
  ])('%s', (_name, version, regions, code) => {
    expect(refusal(() => replaceRegions(golden(`${version}/small`), regions)).code).toBe(code)
  })

  test('free offsets, also shared ones, up to 4.0.0', () => {
    const after = replaceRegions(golden('1.10.1/small'), [
      { guestAddress: 0, sizeBytes: MiB, fileOffset: 8 * MiB },
      { guestAddress: MiB, sizeBytes: MiB, fileOffset: 8 * MiB },
    ])
    expect(readStateFile(after).regions.map((it) => it.fileOffset)).toEqual([8 * MiB, 8 * MiB])
    expect(readStateFile(after).memoryFileBytes).toBe(9 * MiB)
  })

  test('a file that would be larger than Firecracker loads', () => {
    const room = new Uint8Array(10_000_000 - 200)
    const file = made(formatOf('10.0.0'), [dram], 128)
    const padded = new Uint8Array(Buffer.concat([file.subarray(0, -8), room, new Uint8Array(8)]))
    writeCrc(padded)
    expect(readStateFile(padded).regions).toHaveLength(1)
    const many = Array.from({ length: 2000 }, (_, i) => ({ guestAddress: i * 8192, sizeBytes: 4096 }))
    expect(refusal(() => replaceRegions(padded, many)).message).toContain('10000000')
  })
})
