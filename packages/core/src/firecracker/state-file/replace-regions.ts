import { VarveError } from '../../errors.js'
import { type ByteOffset, byteOffset, guestAddress } from '../../memory/units.js'
import * as bincode from './bincode-parts.js'
import * as bitcode from './bitcode-parts.js'
import { ByteWriter } from './byte-writer.js'
import { crcBytes, writeCrc } from './crc64.js'
import type { StateFormat } from './formats.js'
import { readStateFile, type StateFile } from './read-state-file.js'
import { dramBytes, type MemoryRegion, type RegionType, regionProblem } from './regions.js'

/** A region to write; `MemoryRegion` is one. */
export interface RegionSpec {
  /** Its first guest-physical address, bytes; a multiple of 4,096. */
  readonly guestAddress: number
  /** Its length, a multiple of 4,096. */
  readonly sizeBytes: number
  /** By default the sum of the sizes before it, which is all that versions from 5.0.0 can say. */
  readonly fileOffset?: number | undefined
  /** Default `dram`. */
  readonly type?: RegionType | undefined
  /** By default one plugged slot. */
  readonly plugged?: readonly boolean[] | undefined
}

/**
 * A copy of a state file with another region list: every other byte is the same, the CRC is right. A list
 * that Firecracker would refuse is INVALID_ARGUMENT, one that the file's version cannot express
 * VERSION_UNSUPPORTED. The list that the file has gives the same file again, if Firecracker wrote it. `bytes`
 * is the state file, `regions` the new list.
 */
export function replaceRegions(bytes: Uint8Array, regions: readonly RegionSpec[]): Uint8Array {
  const state = readStateFile(bytes)
  const { format } = state
  const list = completeRegions(regions, state)
  const writer = new ByteWriter()
  if (state.encoding === 'bincode') bincode.writeRegions(writer, list, format)
  else bitcode.writeRegions(writer, list)
  const encoded = writer.finish()
  const { start, end } = state.regionList
  const sizeBytes = bytes.length - (end - start) + encoded.length
  if (sizeBytes > format.maxFileBytes)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${list.length} regions make a state file of ${sizeBytes} bytes; Firecracker loads ${format.maxFileBytes}`,
    )
  const result = new Uint8Array(sizeBytes)
  result.set(bytes.subarray(0, start))
  result.set(encoded, start)
  result.set(bytes.subarray(end, bytes.length - crcBytes), start + encoded.length)
  writeCrc(result)
  if (format.snapshotVersion === '8.0.0') assertTellable(result, format)
  return result
}

/**
 * The two layouts of 8.0.0 are told apart by what they hold; a list must not make one look like the other.
 */
function assertTellable(result: Uint8Array, format: StateFormat): void {
  if (readStateFile(result).format !== format)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `region list for snapshot version 8.0.0 of Firecracker ${format.firecracker} looks like one of the other 8.0.0`,
    )
}

function completeRegions(regions: readonly RegionSpec[], state: StateFile): MemoryRegion[] {
  const { format, vmInfo } = state
  let sum = 0
  const list = regions.map((region, index): MemoryRegion => {
    const address = guestAddress(region.guestAddress)
    const sizeBytes = byteOffset(region.sizeBytes)
    const fileOffset = chooseOffset(region, index, sum, state)
    sum += sizeBytes
    const { type = 'dram', plugged = [true] } = region
    if (format.record !== 'slots' && type !== 'dram')
      throw new VarveError(
        'VERSION_UNSUPPORTED',
        `region ${index} is hotpluggable; snapshot version ${state.snapshotVersion} of Firecracker ${state.firecracker} has no such regions`,
        { remedy: 'hotpluggable regions exist from Firecracker 1.14.0 on' },
      )
    return { guestAddress: address, sizeBytes, fileOffset, type, plugged }
  })
  const problem = regionProblem(list, format)
  if (problem !== undefined)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `region list for snapshot version ${state.snapshotVersion}: ${problem}`,
    )
  // The two layouts of 8.0.0 are told apart by this sum.
  const sumMib = dramBytes(list) / 2 ** 20
  if (format.snapshotVersion === '8.0.0' && sumMib !== vmInfo.memSizeMib)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `region list for snapshot version 8.0.0: DRAM is ${sumMib} MiB in all, mem_size_mib is ${vmInfo.memSizeMib}`,
    )
  return list
}

function chooseOffset(region: RegionSpec, index: number, sum: number, state: StateFile): ByteOffset {
  const cumulative = byteOffset(sum)
  if (region.fileOffset === undefined) return cumulative
  const offset = byteOffset(region.fileOffset)
  if (offset === cumulative || state.fileOffsets === 'explicit') return offset
  throw new VarveError(
    'VERSION_UNSUPPORTED',
    `region ${index} should be at byte ${offset} of the memory file, but in snapshot version ${state.snapshotVersion} it is at ${cumulative}, after the regions before it`,
    { remedy: 'free offsets exist up to Firecracker 1.10.1; leave fileOffset out' },
  )
}
