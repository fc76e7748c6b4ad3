import { VarveError } from '../../errors.js'

/** The processor architecture that a state file is of. */
export type StateFileArch = 'x86_64' | 'aarch64'
export type StateFileEncoding = 'bincode' | 'bitcode'

/** What a region record holds in addition to guest address and size. */
type RegionRecord = 'offset' | 'plain' | 'slots'

/**
 * One layout of the beginning of a state file. The table is explained in
 * docs/formats/firecracker-state-file.md.
 */
export interface StateFormat {
  /** The version in the file's header, e.g. "6.0.0". */
  readonly snapshotVersion: string
  /** The Firecracker releases that write it. */
  readonly firecracker: string
  /** How numbers and lists are written. */
  readonly encoding: StateFileEncoding
  /** What a region record holds in addition to guest address and size. */
  readonly record: RegionRecord
  /** KVM capability modifiers stand between vm_info and the regions. */
  readonly hasCapModifiers: boolean
  /** Firecracker refuses a list that does not ascend. */
  readonly ascending: boolean
  /** The setting of huge_pages that each number means; a number without one is read as "not known". */
  readonly hugePagesKnown: boolean
  /** Firecracker refuses a larger file. */
  readonly maxFileBytes: number
}

const bincodeMaxBytes = 10 * 1024 * 1024
const bitcodeMaxBytes = 10_000_000

/** No state file of any version is larger. */
export const maxStateFileBytes = bincodeMaxBytes

const offsets = {
  encoding: 'bincode',
  record: 'offset',
  hasCapModifiers: false,
  ascending: true,
  hugePagesKnown: true,
  maxFileBytes: bincodeMaxBytes,
} as const
const plain = { ...offsets, record: 'plain', hasCapModifiers: true, ascending: false } as const
const columns = {
  encoding: 'bitcode',
  record: 'slots',
  hasCapModifiers: true,
  ascending: false,
  hugePagesKnown: true,
  maxFileBytes: bitcodeMaxBytes,
} as const

/** Every layout that Varve reads. 8.0.0 is there twice, the layout to try first before the other. */
export const stateFormats: readonly StateFormat[] = [
  { ...offsets, snapshotVersion: '1.0.0', firecracker: '1.7.0' },
  { ...offsets, snapshotVersion: '2.0.0', firecracker: '1.8.0' },
  { ...offsets, snapshotVersion: '3.0.0', firecracker: '1.9.0, 1.9.1 or 1.10.0' },
  { ...offsets, snapshotVersion: '4.0.0', firecracker: '1.10.1' },
  { ...offsets, record: 'plain', snapshotVersion: '5.0.0', firecracker: '1.11.0' },
  { ...plain, snapshotVersion: '6.0.0', firecracker: '1.12.0 or 1.12.1' },
  { ...plain, record: 'slots', snapshotVersion: '8.0.0', firecracker: '1.14.0 to 1.14.4' },
  { ...plain, snapshotVersion: '8.0.0', firecracker: '1.13.0 to 1.13.2' },
  { ...columns, snapshotVersion: '9.0.0', firecracker: '1.15.0 or 1.15.1' },
  { ...columns, snapshotVersion: '10.0.0', firecracker: '1.16.0 or 1.16.1' },
  // From Firecracker's sources before the release: huge_pages gets a new value in the middle.
  {
    ...columns,
    snapshotVersion: '11.0.0',
    firecracker: '1.17 (not released when this Varve was made)',
    hugePagesKnown: false,
  },
]

/**
 * The layouts that a version text can mean, one but for 8.0.0. As in Firecracker,
 * the patch number does not matter.
 */
export function formatsOf(version: string, encoding: StateFileEncoding): readonly StateFormat[] {
  const match = /^(\d{1,9})\.(\d{1,9})\.\d{1,9}$/.exec(version)
  if (!match)
    throw new VarveError(
      'FORMAT_INVALID',
      `state file: version ${JSON.stringify(version)} is not MAJOR.MINOR.PATCH`,
    )
  const name = `${match[1]}.${match[2]}.0`
  const formats = stateFormats.filter((it) => it.snapshotVersion === name && it.encoding === encoding)
  if (formats.length > 0) return formats
  const known = [...new Set(stateFormats.map((it) => it.snapshotVersion))].join(', ')
  throw new VarveError(
    'FORMAT_UNSUPPORTED',
    `state file: snapshot version ${version} in ${encoding} is not known; known are ${known} (bitcode from 9.0.0)`,
    {
      remedy: 'take the snapshot with Firecracker 1.7 to 1.16, or use a newer Varve',
      details: { snapshotVersion: version, encoding },
    },
  )
}

export const cpuTemplates: Readonly<Record<StateFileArch, readonly string[]>> = {
  x86_64: ['C3', 'T2', 'T2S', 'None', 'T2CL', 'T2A'],
  aarch64: ['V1N1', 'None'],
}

export const hugePageSettings = ['None', '2M'] as const
export type HugePageSetting = (typeof hugePageSettings)[number] | 'not known'
