import { isVarveError, VarveError } from '../../errors.js'
import { type ByteOffset, byteOffset } from '../../memory/units.js'
import * as bincode from './bincode-parts.js'
import { readText } from './bitcode-buffers.js'
import * as bitcode from './bitcode-parts.js'
import { ByteReader } from './byte-reader.js'
import { checkCrc, crcBytes, formatCrc } from './crc64.js'
import {
  formatsOf,
  maxStateFileBytes,
  type StateFileArch,
  type StateFileEncoding,
  type StateFormat,
} from './formats.js'
import { readMagic } from './magic.js'
import { dramBytes, type MemoryRegion, memoryFileBytes, regionProblem } from './regions.js'
import type { VmInfo } from './vm-info.js'

/** What Varve reads of a state file. */
export interface StateFile {
  /** The architecture that the header's magic number names. */
  readonly arch: StateFileArch
  /** How the file is written: bincode, or bitcode. */
  readonly encoding: StateFileEncoding
  /** As the file has it, e.g. "8.0.0". */
  readonly snapshotVersion: string
  /** The releases of Firecracker that write this layout, for people. */
  readonly firecracker: string
  /** The layout of its beginning. */
  readonly format: StateFormat
  /** What it says of the machine. */
  readonly vmInfo: VmInfo
  /** Undefined up to 5.0.0, where they do not stand before the regions. */
  readonly capModifiers: readonly string[] | undefined
  /** Guest memory, in the order of the file. */
  readonly regions: readonly MemoryRegion[]
  /** Whether the file states each region's offset, or it is the sum of the sizes before it. */
  readonly fileOffsets: 'explicit' | 'cumulative'
  /** The bytes that hold the region list, its count included. */
  readonly regionList: {
    /** Offset of the first byte. */
    readonly start: ByteOffset
    /** Offset behind the last byte. */
    readonly end: ByteOffset
  }
  /** The least size of the memory file. */
  readonly memoryFileBytes: number
  /** Size of the state file. */
  readonly sizeBytes: number
  /** 16 hex digits; it was right. */
  readonly crc64: string
}

/**
 * Reads what Varve needs of a Firecracker snapshot's state file: header, machine and region list. Everything
 * behind is only covered by the CRC. Layout and errors: docs/formats/firecracker-state-file.md.
 * FORMAT_INVALID, CHECKSUM_MISMATCH or FORMAT_UNSUPPORTED, never another error, whatever the bytes are.
 */
export function readStateFile(bytes: Uint8Array): StateFile {
  if (bytes.length > maxStateFileBytes)
    throw new VarveError(
      'FORMAT_INVALID',
      `state file of ${bytes.length} bytes is larger than ${maxStateFileBytes}, the most that Firecracker loads`,
      { details: { offset: maxStateFileBytes, sizeBytes: bytes.length } },
    )
  const { arch, encoding, lengthBytes } = readMagic(bytes)
  const { stored, computed } = checkCrc(bytes)
  if (stored !== computed)
    throw new VarveError(
      'CHECKSUM_MISMATCH',
      `state file: the CRC at byte ${bytes.length - crcBytes} is ${formatCrc(stored)}, of the bytes before it ${formatCrc(computed)}`,
      {
        remedy: 'the file is damaged or cut short; take the snapshot again',
        details: {
          offset: bytes.length - crcBytes,
          stored: formatCrc(stored),
          computed: formatCrc(computed),
        },
      },
    )
  const reader = new ByteReader(bytes.subarray(0, bytes.length - crcBytes), lengthBytes)
  const parts = encoding === 'bincode' ? bincode : bitcode
  const snapshotVersion =
    encoding === 'bincode' ? bincode.readString(reader, 'version') : readText(reader, 'version')
  const formats = formatsOf(snapshotVersion, encoding)
  const [first] = formats as [StateFormat]
  const { hasCapModifiers, maxFileBytes } = first
  if (bytes.length > maxFileBytes)
    throw new VarveError(
      'FORMAT_INVALID',
      `state file of ${bytes.length} bytes is larger than ${maxFileBytes}, the most for ${snapshotVersion}`,
      { details: { offset: maxFileBytes, sizeBytes: bytes.length } },
    )
  const vmInfo = parts.readVmInfo(reader, arch, first)
  const capModifiers = hasCapModifiers ? parts.readCapModifiers(reader) : undefined
  const start = byteOffset(reader.position)
  const { format, regions } = chooseFormat(reader, formats, arch, vmInfo)
  return {
    arch,
    encoding,
    snapshotVersion,
    firecracker: format.firecracker,
    format,
    vmInfo,
    capModifiers,
    regions,
    fileOffsets: format.record === 'offset' ? 'explicit' : 'cumulative',
    regionList: { start, end: byteOffset(reader.position) },
    memoryFileBytes: memoryFileBytes(regions),
    sizeBytes: bytes.length,
    crc64: formatCrc(stored),
  }
}

interface Choice {
  readonly format: StateFormat
  readonly regions: readonly MemoryRegion[]
}

/** The reader stands behind the list afterwards. */
function chooseFormat(
  reader: ByteReader,
  formats: readonly StateFormat[],
  arch: StateFileArch,
  vmInfo: VmInfo,
): Choice {
  const start = reader.position
  const [only, ...others] = formats as [StateFormat, ...StateFormat[]]
  if (others.length === 0) return { format: only, regions: readRegions(reader, only) }
  const reasons: string[] = []
  for (const format of formats) {
    reader.position = start
    try {
      const regions = readRegions(reader, format)
      const sumMib = dramBytes(regions) / 2 ** 20
      if (sumMib !== vmInfo.memSizeMib)
        reader.fail('DRAM', `is ${sumMib} MiB in all, mem_size_mib ${vmInfo.memSizeMib}`, start)
      if (arch === 'x86_64' && !gsiAllocatorFollows(reader))
        reader.fail('region list', 'is not followed by the GSI allocator')
      return { format, regions }
    } catch (error) {
      if (!isVarveError(error, 'FORMAT_INVALID')) throw error
      reasons.push(`not of Firecracker ${format.firecracker} (${error.message})`)
    }
  }
  throw new VarveError('FORMAT_INVALID', `state file, byte ${start}: ${reasons.join(' and ')}`, {
    details: { offset: start },
  })
}

function readRegions(reader: ByteReader, format: StateFormat): readonly MemoryRegion[] {
  const start = reader.position
  const regions =
    format.encoding === 'bincode' ? bincode.readRegions(reader, format) : bitcode.readRegions(reader)
  const problem = regionProblem(regions, format)
  if (problem !== undefined) reader.fail('region list', `is not valid: ${problem}`, start)
  return regions
}

/**
 * First interrupt line of the legacy range, and last: how the GSI allocator of
 * x86_64 begins in every 8.0.0 file.
 */
const firstGsi = 5
const lastGsi = 23

function gsiAllocatorFollows(reader: ByteReader): boolean {
  const { bytes, position } = reader
  const ahead = new ByteReader(bytes, position)
  if (ahead.remaining < 9 || ahead.u32('first GSI') !== firstGsi) return false
  const tag = ahead.u8('next GSI')
  if (tag > 1) return false
  if (tag === 1) ahead.u32('next GSI')
  return ahead.remaining >= 4 && ahead.u32('last GSI') === lastGsi
}
