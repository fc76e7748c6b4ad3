import type { EngineName } from 'varve'
import type { RecorderName } from 'varve/working-sets'

export const memoryMib = 256
/** 192 MiB of data in the image; the work reads 64 MiB of it and writes 16, in random order. */
export const filled = { start: 1024, count: 49_152 }
export const reads = { start: 1024, count: 16_384, stride: 3, order: 5 }
export const writes = { start: 1025, count: 4096, stride: 12, order: 6 }

export interface Contender {
  readonly engine: EngineName
  /** Of the files of the memory, before the load. */
  readonly cache: 'dropped' | 'warm'
  readonly recorders: readonly RecorderName[]
  readonly name: string
}

export const notRecorded = 'not recorded'

const onFile: readonly (readonly RecorderName[])[] = [
  [],
  ['mincore'],
  ['pagemap'],
  ['diff'],
  ['mincore', 'diff'],
  ['pagemap', 'diff'],
]
const onPaged: readonly (readonly RecorderName[])[] = [[], ['mincore'], ['faults'], ['diff']]

const contender = (
  engine: EngineName,
  cache: Contender['cache'],
  recorders: readonly RecorderName[],
): Contender => ({ engine, cache, recorders, name: recorders.join(' + ') || notRecorded })

/** The first of each engine and cache is the one that is not recorded. */
export const contenders: readonly Contender[] = [
  ...onFile.map((recorders) => contender('file', 'dropped', recorders)),
  // mincore drops the cache itself.
  ...onFile
    .filter((recorders) => !recorders.includes('mincore'))
    .map((recorders) => contender('file', 'warm', recorders)),
  ...onPaged.map((recorders) => contender('paged', 'dropped', recorders)),
]

export interface VmRow extends Contender {
  readonly what: 'vm'
  readonly round: number
  /** `startMs` before the load, `stopMs` after the work. */
  readonly startMs: number
  readonly workMs: number
  readonly stopMs: number
  readonly scans: number
  readonly present: number | null
  readonly written: number | null
}

/** Passes of mincore over one file, by JavaScript and by C in turns. */
export interface PassRow {
  readonly what: 'pass'
  /** Which pages are in the page cache. */
  readonly pages: string
  /** Pages and runs, as the reference in C prints them. */
  readonly found: string
  readonly round: number
  readonly jsMs: readonly number[]
  readonly cMs: readonly number[]
}
