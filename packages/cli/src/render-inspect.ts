import { countPages, type Layer } from 'varve/layers'
import {
  type KindTotals,
  type MemoryFileReport,
  memoryExtents,
  type StateFileReport,
} from 'varve/state-files'
import type { InspectReport } from './inspect-report.js'
import { count, humanBytes, humanPages, printable, sections, table } from './text.js'

/** The report as text for people. `extents`: list every extent of the memory file. */
export function renderInspect(report: InspectReport, { extents = false } = {}): string {
  const { layer, state, memory, notes } = report
  return sections([
    layer && renderLayer(layer),
    state && renderState(state),
    memory && renderMemory(memory, state, extents),
    notes.length > 0 && notes.map((it) => `note: ${printable(it)}`).join('\n'),
  ])
}

function renderLayer({ path, layout, image, parent, index, sizeBytes, checksums }: Layer): string {
  const { data, zero, absent } = countPages(index)
  return table([
    ['layer file', printable(path)],
    [
      'format',
      `layer version 1, ${layout}, ${count(checksums.length, 'chunk checksum')}; they are not checked here`,
    ],
    ['image', image],
    ['parent', parent ?? 'none'],
    ['size', humanBytes(sizeBytes)],
    ['of', `${humanPages(index.pages)} of guest memory, in ${count(index.starts.length, 'run')}`],
    ['data', humanPages(data)],
    ['zero', humanPages(zero)],
    ['absent', `${humanPages(absent)}${parent === null ? '' : ', as in the parent'}`],
  ])
}

function renderState(state: StateFileReport): string {
  const { vmInfo } = state
  const machine = table([
    ['state file', printable(state.path)],
    [
      'format',
      `snapshot version ${state.snapshotVersion} in ${state.encoding}, ${state.arch}, CRC-64 ${state.crc64} right`,
    ],
    ['written by', `Firecracker ${state.firecracker}`],
    ['memory', `${vmInfo.memSizeMib} MiB, huge pages ${hugePagesText(state)}`],
    ['cpu', `SMT ${vmInfo.smt ? 'on' : 'off'}, template ${vmInfo.cpuTemplate}`],
    ['kernel', printable(vmInfo.kernelPath)],
    ['initrd', printable(vmInfo.initrdPath ?? 'none')],
    ['boot args', printable(vmInfo.bootArgs ?? 'none')],
    ...(state.capModifiers?.length ? [['KVM caps', printable(state.capModifiers.join(' '))]] : []),
  ])
  const offsets = state.fileOffsets === 'explicit' ? 'stated in the file' : 'sums of the sizes before'
  const regions = table([
    ['REGION', 'GUEST ADDRESS', 'SIZE', 'FILE OFFSET', 'TYPE', 'PLUGGED'],
    ...state.regions.map((it, i) => [
      String(i),
      `${hex(it.guestAddress)}-${hex(it.guestAddress + it.sizeBytes - 1)}`,
      exactSize(it.sizeBytes),
      hex(it.fileOffset),
      it.type,
      `${it.plugged.filter(Boolean).length}/${it.plugged.length}`,
    ]),
  ])
  return [machine, '', `${regions}\nFile offsets are ${offsets}.`, ...state.explanation].join('\n')
}

function hugePagesText({ vmInfo, snapshotVersion }: StateFileReport): string {
  return vmInfo.hugePages === 'not known'
    ? `not known: this Varve does not know how snapshot version ${snapshotVersion} names them`
    : vmInfo.hugePages
}

function renderMemory(
  memory: MemoryFileReport,
  state: StateFileReport | undefined,
  extents: boolean,
): string {
  const sums = (name: string, { dataBytes, zeroBytes, holeBytes }: KindTotals): string[] => [
    name,
    humanBytes(dataBytes),
    humanBytes(zeroBytes),
    humanBytes(holeBytes),
  ]
  const { data, zero, hole } = memory
  const lines = [
    table([
      ['memory file', printable(memory.path)],
      ['size', `${humanBytes(memory.sizeBytes)}, ${humanBytes(memory.allocatedBytes)} on disk`],
    ]),
    '',
    table([
      ['', 'DATA', 'ZERO', 'HOLE'],
      ...memory.regions.map((it, i) => sums(`region ${i}`, it)),
      sums('file', memory),
      ['extents', ...[data, zero, hole].map((set) => String(set.starts.length))],
    ]),
    'Zero: stored, all bytes zero. Hole: not stored; in a Full it is zero, in a Diff unchanged.',
  ]
  if (memory.missingBytes > 0)
    lines.push(
      `The file is ${humanBytes(memory.missingBytes)} too short for the regions: Firecracker refuses it.`,
    )
  if (memory.trailingBytes > 0)
    lines.push(`${humanBytes(memory.trailingBytes)} behind the last region are ignored by Firecracker.`)
  if (state === undefined) lines.push('Without its state file the regions in it are not known.')
  if (extents)
    lines.push(
      '',
      table([
        ['FROM', 'TO', 'SIZE', 'KIND'],
        ...[...memoryExtents(memory)].map(({ startBytes, endBytes, kind }) => [
          hex(startBytes),
          hex(endBytes - 1),
          humanBytes(endBytes - startBytes),
          kind,
        ]),
      ]),
    )
  return lines.join('\n')
}

/** Regions must be comparable by eye: 3328 MiB is not "3.3 GiB". */
const exactSize = (bytes: number): string =>
  bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20} MiB` : `${bytes / 1024} KiB`

const hex = (value: number): string => `0x${value.toString(16)}`
