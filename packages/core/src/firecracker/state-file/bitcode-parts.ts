import { byteOffset, guestAddress } from '../../memory/units.js'
import {
  readBools,
  readBytes,
  readLengths,
  readText,
  readU64s,
  writeBools,
  writeBytes,
  writeLengths,
  writeU64s,
} from './bitcode-buffers.js'
import type { ByteReader } from './byte-reader.js'
import type { ByteWriter } from './byte-writer.js'
import { cpuTemplates, hugePageSettings, type StateFileArch, type StateFormat } from './formats.js'
import { type MemoryRegion, maxRegions, maxSlots } from './regions.js'
import { maxCapModifiers, type VmInfo } from './vm-info.js'

const regionTypes = ['dram', 'hotpluggable'] as const

function readVariant<const Name>(reader: ByteReader, names: readonly Name[], what: string): Name {
  const at = reader.position
  return reader.pick(names, reader.u8(what), what, at)
}

function unknownVariant(reader: ByteReader, what: string): 'not known' {
  reader.u8(what)
  return 'not known'
}

const readOptionalText = (reader: ByteReader, what: string): string | undefined =>
  readVariant(reader, [false, true], `presence of ${what}`) ? readText(reader, what) : undefined

export function readVmInfo(reader: ByteReader, arch: StateFileArch, { hugePagesKnown }: StateFormat): VmInfo {
  return {
    memSizeMib: readU64s(reader, 1, 'mem_size_mib')[0] as number,
    smt: readBools(reader, 1, 'smt')[0] as boolean,
    cpuTemplate: readVariant(reader, cpuTemplates[arch], 'cpu_template'),
    kernelPath: readText(reader, 'kernel path'),
    initrdPath: readOptionalText(reader, 'initrd path'),
    bootArgs: readOptionalText(reader, 'boot arguments'),
    hugePages: hugePagesKnown
      ? readVariant(reader, hugePageSettings, 'huge_pages')
      : unknownVariant(reader, 'huge_pages'),
  }
}

export function readCapModifiers(reader: ByteReader): string[] {
  const [count] = readLengths(reader, 1, maxCapModifiers, 'cap modifier count') as [number]
  const lengths = readLengths(reader, count, reader.remaining, 'lengths of cap modifiers')
  return lengths.map((length, i) => reader.text(length, `cap modifier ${i}`))
}

export function readRegions(reader: ByteReader): MemoryRegion[] {
  const [count] = readLengths(reader, 1, maxRegions, 'region count') as [number]
  if (count === 0) return []
  const addresses = readU64s(reader, count, 'guest addresses')
  const sizes = readU64s(reader, count, 'region sizes')
  const typesAt = reader.position
  const types = readBytes(reader, count, 'region types')
  const slotsAt = reader.position
  const slotCounts = readLengths(reader, count, maxSlots, 'slot counts')
  const slots = slotCounts.reduce((sum, it) => sum + it, 0)
  if (slots > maxSlots) reader.fail('slots', `of all regions are ${slots}, above ${maxSlots}`, slotsAt)
  const plugged = readBools(reader, slots, 'slots')
  let firstSlot = 0
  let sum = 0
  return addresses.map((address, i) => {
    const sizeBytes = sizes[i] as number
    const type = reader.pick(regionTypes, types[i] as number, `type of region ${i}`, typesAt)
    const fileOffset = byteOffset(sum)
    sum += sizeBytes
    if (!Number.isSafeInteger(sum)) reader.fail(`region ${i}`, 'ends beyond 2^53 - 1 in the memory file')
    const ownSlots = plugged.slice(firstSlot, firstSlot + (slotCounts[i] as number))
    firstSlot += ownSlots.length
    return { guestAddress: guestAddress(address), sizeBytes, fileOffset, type, plugged: ownSlots }
  })
}

export function writeRegions(writer: ByteWriter, regions: readonly MemoryRegion[]): void {
  writeLengths(writer, [regions.length])
  writeU64s(
    writer,
    regions.map((it) => it.guestAddress),
  )
  writeU64s(
    writer,
    regions.map((it) => it.sizeBytes),
  )
  writeBytes(
    writer,
    regions.map((it) => regionTypes.indexOf(it.type)),
  )
  writeLengths(
    writer,
    regions.map((it) => it.plugged.length),
  )
  writeBools(
    writer,
    regions.flatMap((it) => it.plugged),
  )
}
