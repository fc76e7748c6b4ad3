import type { StateFile } from '../state-file/read-state-file.js'
import type { MemoryRegion } from '../state-file/regions.js'

const MiB = 2 ** 20
const GiB = 2 ** 30

/** Where x86_64 memory goes on above the gap. */
const fourGib = 4 * GiB
/** The second gap that Firecracker leaves from 1.13 on, for 64-bit device memory. */
const farGap = { start: 256 * GiB, end: 512 * GiB } as const
/** Where aarch64 memory begins. */
const aarch64Start = 2 * GiB

type Machine = Pick<StateFile, 'arch' | 'format' | 'regions'>

/** Why memory lies where it lies in the guest's physical address space, a sentence a fact. */
export function explainRegions(machine: Machine): string[] {
  const sorted = [...machine.regions].sort((a, b) => a.guestAddress - b.guestAddress)
  return [
    ...explainStart(machine, sorted),
    ...sorted.slice(1).flatMap((region, i) => explainBetween(machine, sorted[i] as MemoryRegion, region)),
    ...machine.regions.flatMap(explainSlots),
    ...explainOrder(machine),
  ]
}

function explainStart({ arch, format }: Machine, sorted: readonly MemoryRegion[]): string[] {
  const first = sorted[0] as MemoryRegion
  const dram = sorted.filter((it) => it.type === 'dram')
  if (arch === 'aarch64')
    return first.guestAddress === aarch64Start
      ? [
          `Memory begins at 2 GiB (${hex(aarch64Start)}), as on every aarch64 guest of Firecracker: the addresses below are devices.`,
        ]
      : []
  const gapStart = x86GapStart(format)
  if (dram.some((it) => endOf(it) > gapStart)) return []
  return [
    `All DRAM lies below the MMIO gap (${size(fourGib - gapStart)} below 4 GiB, from ${hex(gapStart)}), which Firecracker ${format.firecracker} keeps free for devices.`,
  ]
}

function explainBetween({ arch, format }: Machine, before: MemoryRegion, after: MemoryRegion): string[] {
  const [start, end] = [endOf(before), after.guestAddress]
  if (start === end) return [`Two regions meet at ${hex(start)}: the list was split there.`]
  const gap = `${hex(start)} to ${hex(end - 1)} (${size(end - start)})`
  if (arch === 'x86_64' && end === fourGib) {
    const usual =
      start === x86GapStart(format) ? `as usual for Firecracker ${format.firecracker}` : 'not the usual size'
    return [
      `MMIO gap: ${gap} is no memory but device registers (virtio, IO-APIC, local APIC), ${usual}. Memory goes on at 4 GiB.`,
    ]
  }
  if (start === farGap.start && end === farGap.end)
    return [`64-bit MMIO gap: ${gap} is kept for device memory from Firecracker 1.13 on.`]
  if (after.type === 'hotpluggable') return [`${gap} between DRAM and hotpluggable memory is unused.`]
  return [`${gap} between two regions is no memory.`]
}

function explainSlots({ type, plugged, sizeBytes, guestAddress }: MemoryRegion): string[] {
  if (type === 'dram') return []
  const used = plugged.filter(Boolean).length
  return [
    `The region at ${hex(guestAddress)} is hotpluggable: ${used} of ${plugged.length} slots of ${size(sizeBytes / plugged.length)} are plugged; the memory file has room for all.`,
  ]
}

function explainOrder({ regions, format }: Machine): string[] {
  const ascends = regions.every(
    (it, i) => i === 0 || (regions[i - 1] as MemoryRegion).guestAddress < it.guestAddress,
  )
  if (!ascends) return ['The memory file does not hold the regions in the order of their guest addresses.']
  let sum = 0
  const compact = regions.every((it) => {
    const same = it.fileOffset === sum
    sum += it.sizeBytes
    return same
  })
  if (format.record === 'offset' && !compact)
    return [
      'The file offsets are not the sums of the sizes: this list was edited; Firecracker writes it compact.',
    ]
  return []
}

/** 768 MiB below 4 GiB up to Firecracker 1.12 (snapshot version 6.0.0), 1 GiB from 1.13. */
const x86GapStart = ({ snapshotVersion }: StateFile['format']): number =>
  Number.parseInt(snapshotVersion, 10) <= 6 ? 3328 * MiB : 3072 * MiB

const endOf = (region: MemoryRegion): number => region.guestAddress + region.sizeBytes

const hex = (address: number): string => `0x${address.toString(16)}`

function size(bytes: number): string {
  if (bytes % GiB === 0) return `${bytes / GiB} GiB`
  return bytes % MiB === 0 ? `${bytes / MiB} MiB` : `${bytes / 1024} KiB`
}
