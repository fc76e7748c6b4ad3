import { byteOffset, guestAddress } from '../../memory/units.js'
import type { ByteReader } from './byte-reader.js'
import type { ByteWriter } from './byte-writer.js'
import { cpuTemplates, hugePageSettings, type StateFileArch, type StateFormat } from './formats.js'
import { type MemoryRegion, maxRegions, maxSlots } from './regions.js'
import { maxCapModifiers, type VmInfo } from './vm-info.js'

/** A count of things that take at least `eachBytes`, so that it cannot promise more than the file holds. */
function readCount(reader: ByteReader, max: number, eachBytes: number, what: string): number {
  const at = reader.position
  const count = reader.u64(what)
  if (count > max) reader.fail(what, `${count} is above ${max}`, at)
  if (count * eachBytes > reader.remaining)
    reader.fail(what, `${count} needs more bytes than the ${reader.remaining} left`, at)
  return count
}

export function readString(reader: ByteReader, what: string): string {
  return reader.text(readCount(reader, reader.remaining, 1, `length of ${what}`), what)
}

function readFlag(reader: ByteReader, what: string): boolean {
  const at = reader.position
  return reader.pick([false, true], reader.u8(what), what, at)
}

const readOptionalString = (reader: ByteReader, what: string): string | undefined =>
  readFlag(reader, `presence of ${what}`) ? readString(reader, what) : undefined

function readVariant<const Name>(reader: ByteReader, names: readonly Name[], what: string): Name {
  const at = reader.position
  return reader.pick(names, reader.u32(what), what, at)
}

export function readVmInfo(reader: ByteReader, arch: StateFileArch): VmInfo {
  return {
    memSizeMib: reader.u64('mem_size_mib'),
    smt: readFlag(reader, 'smt'),
    cpuTemplate: readVariant(reader, cpuTemplates[arch], 'cpu_template'),
    kernelPath: readString(reader, 'kernel path'),
    initrdPath: readOptionalString(reader, 'initrd path'),
    bootArgs: readOptionalString(reader, 'boot arguments'),
    hugePages: readVariant(reader, hugePageSettings, 'huge_pages'),
  }
}

export function readCapModifiers(reader: ByteReader): string[] {
  const count = readCount(reader, maxCapModifiers, 8, 'cap modifier count')
  return Array.from({ length: count }, (_, i) => readString(reader, `cap modifier ${i}`))
}

const recordBytes = { offset: 24, plain: 16, slots: 29 } as const

/** The list from its count on. Offsets that the file does not hold are the sums of the earlier sizes. */
export function readRegions(reader: ByteReader, { record }: StateFormat): MemoryRegion[] {
  const count = readCount(reader, maxRegions, recordBytes[record], 'region count')
  const regions: MemoryRegion[] = []
  let sum = 0
  let slotsLeft = maxSlots
  for (let i = 0; i < count; i++) {
    const at = reader.position
    const address = reader.u64(`address of region ${i}`)
    const sizeBytes = reader.u64(`size of region ${i}`)
    const fileOffset = record === 'offset' ? reader.u64(`file offset of region ${i}`) : sum
    const type =
      record === 'slots'
        ? readVariant(reader, ['dram', 'hotpluggable'] as const, `type of region ${i}`)
        : 'dram'
    const plugged = record === 'slots' ? readSlots(reader, slotsLeft, i) : [true]
    slotsLeft -= plugged.length
    sum += sizeBytes
    if (!Number.isSafeInteger(sum)) reader.fail(`region ${i}`, 'ends beyond 2^53 - 1 in the memory file', at)
    regions.push({
      guestAddress: guestAddress(address),
      sizeBytes,
      fileOffset: byteOffset(fileOffset),
      type,
      plugged,
    })
  }
  return regions
}

function readSlots(reader: ByteReader, max: number, index: number): boolean[] {
  const count = readCount(reader, max, 1, `slot count of region ${index}`)
  return Array.from({ length: count }, () => readFlag(reader, `slot of region ${index}`))
}

export function writeRegions(
  writer: ByteWriter,
  regions: readonly MemoryRegion[],
  { record }: StateFormat,
): void {
  writer.u64(regions.length)
  for (const { guestAddress, sizeBytes, fileOffset, type, plugged } of regions) {
    writer.u64(guestAddress)
    writer.u64(sizeBytes)
    if (record === 'offset') writer.u64(fileOffset)
    if (record !== 'slots') continue
    writer.u32(type === 'dram' ? 0 : 1)
    writer.u64(plugged.length)
    for (const slot of plugged) writer.u8(slot ? 1 : 0)
  }
}
