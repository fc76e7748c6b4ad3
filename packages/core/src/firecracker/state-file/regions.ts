import { type ByteOffset, type GuestAddress, pageSizeBytes } from '../../memory/units.js'
import type { StateFormat } from './formats.js'

/** Memory from boot on, or memory that can be plugged in. */
export type RegionType = 'dram' | 'hotpluggable'

/** A contiguous range of guest-physical memory and where the memory file holds it. */
export interface MemoryRegion {
  /** Its first guest-physical address, bytes. */
  readonly guestAddress: GuestAddress
  /** Its length. */
  readonly sizeBytes: number
  /** Where it lies in the memory file, bytes. */
  readonly fileOffset: ByteOffset
  /** What kind of memory it is. */
  readonly type: RegionType
  /** One flag a hotplug slot; DRAM is one slot, plugged. */
  readonly plugged: readonly boolean[]
}

/**
 * Firecracker's own limit is KVM's 32,764 slots at most; this one keeps a forged count from costing anything.
 */
export const maxRegions = 65_536
/** Slots of all regions together. */
export const maxSlots = 65_536

/**
 * What is wrong with a region list in a format, or undefined. Reader and writer both ask here, so that what
 * can be read can be written. These are the conditions of Firecracker's own load, and the caps.
 */
export function regionProblem(regions: readonly MemoryRegion[], format: StateFormat): string | undefined {
  if (regions.length === 0) return 'there is no memory region'
  if (regions.length > maxRegions) return `${regions.length} regions are more than ${maxRegions}`
  let sum = 0
  for (const [index, region] of regions.entries()) {
    const problem = numberProblem(region) ?? slotProblem(region, format)
    if (problem !== undefined) return `region ${index}: ${problem}`
    sum += region.sizeBytes
    if (!Number.isSafeInteger(sum)) return `region ${index}: the sum of the sizes is beyond 2^53 - 1`
  }
  if (format.record === 'slots') {
    if (!regions.some((it) => it.type === 'dram')) return 'there is no DRAM region'
    const slots = regions.reduce((total, it) => total + it.plugged.length, 0)
    if (slots > maxSlots) return `${slots} slots are more than ${maxSlots}`
  }
  return orderProblem(regions, format)
}

function numberProblem({ guestAddress, sizeBytes, fileOffset }: MemoryRegion): string | undefined {
  if (sizeBytes <= 0) return `size ${sizeBytes} is not positive`
  const named = [
    ['guest address', guestAddress],
    ['size', sizeBytes],
    ['file offset', fileOffset],
  ] as const
  for (const [name, value] of named) {
    if (!Number.isSafeInteger(value) || value < 0) return `${name} ${value} is not in [0, 2^53)`
    if (value % pageSizeBytes !== 0) return `${name} ${value} is not a multiple of ${pageSizeBytes}`
  }
  if (!Number.isSafeInteger(guestAddress + sizeBytes)) return 'its end is beyond 2^53 - 1'
  if (!Number.isSafeInteger(fileOffset + sizeBytes)) return 'its end in the memory file is beyond 2^53 - 1'
  return undefined
}

function slotProblem({ type, plugged, sizeBytes }: MemoryRegion, format: StateFormat): string | undefined {
  if (type === 'dram')
    return plugged.length === 1 && plugged[0] === true
      ? undefined
      : 'DRAM must have exactly one slot, plugged'
  if (format.record !== 'slots')
    return `snapshot version ${format.snapshotVersion} has no hotpluggable regions`
  if (plugged.length === 0) return 'it has no slot'
  return sizeBytes % (plugged.length * pageSizeBytes) === 0
    ? undefined
    : `size ${sizeBytes} is not ${plugged.length} slots of whole pages`
}

function orderProblem(regions: readonly MemoryRegion[], format: StateFormat): string | undefined {
  const ascends = regions.every(
    (it, index) => index === 0 || (regions[index - 1] as MemoryRegion).guestAddress <= it.guestAddress,
  )
  if (format.ascending && !ascends) return 'the regions do not ascend by guest address'
  const sorted = ascends ? regions : [...regions].sort((a, b) => a.guestAddress - b.guestAddress)
  for (let i = 1; i < sorted.length; i++) {
    const [before, after] = [sorted[i - 1] as MemoryRegion, sorted[i] as MemoryRegion]
    if (before.guestAddress + before.sizeBytes > after.guestAddress)
      return `the regions at ${hex(before.guestAddress)} and ${hex(after.guestAddress)} overlap`
  }
  return undefined
}

/** Bytes of DRAM, without hotpluggable memory. */
export const dramBytes = (regions: readonly MemoryRegion[]): number =>
  regions.reduce((sum, it) => sum + (it.type === 'dram' ? it.sizeBytes : 0), 0)

/** The size that the memory file must have at least. */
export const memoryFileBytes = (regions: readonly MemoryRegion[]): number =>
  regions.reduce((end, it) => Math.max(end, it.fileOffset + it.sizeBytes), 0)

const hex = (address: number): string => `0x${address.toString(16)}`
