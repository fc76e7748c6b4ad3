import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { checkPtrace } from '../host/doctor.js'
import { zeroSource } from '../layer/extent-map.js'
import { mapperWaits } from '../mapper/mapper.js'
import { pageRange } from '../memory/make-page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import type { OpenSnapshot } from '../store/snapshot-types.js'
import { probeReflink } from '../sys/reflink.js'
import type { RecorderName } from '../working-set/recording.js'
import { presentPages, type WorkingSet } from '../working-set/working-set.js'
import { hasFlatFile, isFlatBase } from './flat-file.js'
import { residentShare, samplePages } from './page-cache/sampled-residency.js'

/** What the choice depends on, as found on this host for this snapshot. */
export interface EngineFacts {
  /** A memory file of the image is there: made by an earlier restore, or its base layer alone. */
  readonly hasFlatFile: boolean
  /** Bytes that a flat file would have to be given; blocks shared if the store's file system can. */
  readonly dataBytes: number
  readonly reflinks: boolean
  readonly freeBytes: number
  readonly extents: number
  /** x86_64, and the rights of ptrace over Firecracker. */
  readonly canMap: boolean
  /** This process has a mapper that waits for work; another takes some 150 ms to start. */
  readonly mapperWaits: boolean
  /** The guest's memory is huge pages. */
  readonly hugePages: boolean
  /** A recorder wants to see single pages of layers. */
  readonly randomAccess: boolean
  /** They record from the load on. */
  readonly recorders: readonly RecorderName[]
  /** What the guest will touch: its working set if one was given, else all that has data. */
  readonly needed: {
    readonly isWorkingSet: boolean
    readonly bytes: number
    /**
     * Shares of it that are in the page cache, 0 to 1; null if there is no such file, or this user cannot
     * tell. Of the layers also if the flat file has it all: then nothing is asked.
     */
    readonly inFlatFile: number | null
    readonly inLayers: number | null
  }
  /** Memory that this process could still get, its cgroup's limit included. */
  readonly memoryBytes: number
}

/** Which engine `auto` takes, and why. */
export interface EngineChoice {
  /** The engine. */
  readonly engine: 'file' | 'paged' | 'mapped'
  /** A clause for the report: what decided. */
  readonly reason: string
  /** Whether bringing the working set is worth it, if one was given and nothing was said about when. */
  readonly worthPrefetching: boolean
}

/** Copying that takes well below a second if nothing is shared (0.5 GB/s, docs/results/compose.md). */
const smallCopyBytes = 64 * 2 ** 20
/** Beyond it the mapped engine would take a flat file itself. */
const mappableExtents = 512
/** So much more of what is needed in the layers than in the flat file outweighs what mapping costs. */
const clearlyMore = 0.25
/** Sampling cannot be more precise; read-ahead covers the rest. */
const all = 0.95

const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`
const percent = (share: number) => `${Math.round(share * 100)} %`

/** Page tables of mapped layers do not tell which pages the guest touched. */
const canMap = (facts: EngineFacts) => facts.canMap && !facts.recorders.includes('pagemap')
const mayMap = (facts: EngineFacts) => canMap(facts) && facts.extents <= mappableExtents
const fits = ({ dataBytes, freeBytes }: EngineFacts) => dataBytes <= freeBytes / 2
/** By the page cache, if this process could look. */
const cached = ({ needed }: EngineFacts, share: number | null) =>
  share === null
    ? ''
    : `, ${percent(share)} of ${needed.isWorkingSet ? 'the working set' : 'it'} in the page cache`

interface Rule {
  readonly engine: EngineChoice['engine']
  readonly when: (facts: EngineFacts) => boolean
  readonly why: (facts: EngineFacts) => string
}

/**
 * The first that applies. A flat file that is in the page cache costs least; else the layers are
 * mapped as they are if they are what is cached, or if a working set makes up for the mapping; a flat
 * file is made if that is cheap; and a page server reads layers that cannot be mapped.
 * docs/guides/engines.md has the figures behind this.
 */
const rules: readonly Rule[] = [
  {
    engine: 'paged',
    when: ({ hugePages }) => hugePages,
    why: () => 'only a page server brings the huge pages that the guest has',
  },
  {
    engine: 'paged',
    when: ({ recorders }) => recorders.includes('faults'),
    why: () => 'the faults recorder sees what a page server answers',
  },
  {
    engine: 'paged',
    when: ({ randomAccess }) => randomAccess,
    why: () => 'single pages of the layers are to be seen',
  },
  {
    engine: 'mapped',
    when: (facts) => {
      const { inFlatFile, inLayers } = facts.needed
      return (
        facts.hasFlatFile &&
        mayMap(facts) &&
        inFlatFile !== null &&
        (inLayers ?? 0) > inFlatFile + clearlyMore
      )
    },
    why: ({ needed: { isWorkingSet, inLayers, inFlatFile } }) =>
      `${percent(inLayers ?? 0)} of ${isWorkingSet ? 'the working set' : 'the image'} are in the page cache of the layers, ${percent(inFlatFile ?? 0)} in that of the flat file`,
  },
  {
    engine: 'mapped',
    when: (facts) =>
      facts.hasFlatFile &&
      canMap(facts) &&
      facts.mapperWaits &&
      facts.needed.isWorkingSet &&
      (facts.needed.inFlatFile ?? 1) < all,
    why: ({ needed }) =>
      `${mib(needed.bytes * (1 - (needed.inFlatFile ?? 0)))} of the working set must be read from disk; mapping is the fastest way`,
  },
  {
    engine: 'file',
    when: (facts) => facts.hasFlatFile,
    why: (facts) => `a flat memory file is there${cached(facts, facts.needed.inFlatFile)}`,
  },
  {
    engine: 'file',
    when: ({ reflinks }) => reflinks,
    why: () => 'a flat file shares its blocks with the layers',
  },
  {
    engine: 'file',
    when: (facts) => facts.dataBytes <= smallCopyBytes && fits(facts),
    why: ({ dataBytes }) => `a flat file takes a copy of ${mib(dataBytes)} only`,
  },
  {
    engine: 'mapped',
    when: mayMap,
    why: (facts) =>
      `a flat file would take a copy of ${mib(facts.dataBytes)}${cached(facts, facts.needed.inLayers)}`,
  },
  {
    engine: 'file',
    when: (facts) => fits(facts) && facts.extents > mappableExtents,
    why: ({ extents }) => `${extents} extents are too many to map`,
  },
  {
    engine: 'file',
    when: (facts) => fits(facts) && facts.needed.bytes > facts.memoryBytes,
    why: ({ needed, memoryBytes }) =>
      `a page server would make copies of ${mib(needed.bytes)}, and ${mib(memoryBytes)} of memory are available`,
  },
  {
    engine: 'paged',
    when: () => true,
    why: (facts) =>
      fits(facts)
        ? `a flat file would take a copy of ${mib(facts.dataBytes)}, and ${facts.canMap ? 'a recorder reads page tables' : 'this user may not trace Firecracker'}`
        : `there is no room for a flat file of ${mib(facts.dataBytes)}`,
  },
]

export function chooseEngine(facts: EngineFacts): EngineChoice {
  const { engine, why } = rules.find(({ when }) => when(facts)) as Rule
  const { isWorkingSet, inFlatFile, inLayers } = facts.needed
  const share = engine === 'file' || facts.extents > mappableExtents ? inFlatFile : inLayers
  // A page server copies: it has work with any page, also with one that is in memory.
  const worthPrefetching = !isWorkingSet || engine === 'paged' || share === null || share < all
  return {
    engine,
    reason: worthPrefetching ? why(facts) : `${why(facts)}: nothing is brought ahead`,
    worthPrefetching,
  }
}

/**
 * A millisecond: metadata, and at most 128 questions about the page cache; no reads of data. In this thread,
 * as a restore waits for it.
 */
export async function engineFacts(
  snapshot: OpenSnapshot,
  {
    workingSet,
    hugePages,
    randomAccess,
    recorders,
  }: {
    readonly workingSet: WorkingSet | null
    readonly hugePages: boolean
    readonly randomAccess: boolean
    readonly recorders: readonly RecorderName[]
  },
): Promise<EngineFacts> {
  const { map, files, flatPath } = snapshot
  const directory = dirname(flatPath)
  const flatBase = isFlatBase(snapshot) ? files[0]?.path : undefined
  const flat = flatBase ?? (hasFlatFile(snapshot) ? flatPath : undefined)
  let dataPages = 0
  for (let run = 0; run < map.starts.length; run++)
    if (map.sources[run] !== zeroSource) dataPages += map.counts[run] as number
  const set = workingSet === null ? pageRange(0, map.pages) : presentPages(workingSet)
  const neededPages = workingSet === null ? dataPages : Math.min(set.pages, dataPages)
  const samples = samplePages(map, set, neededPages)
  const inFlatFile =
    flat === undefined ? null : residentShare(samples.map(({ page }) => ({ path: flat, page })))
  const inLayers =
    (inFlatFile ?? 0) >= all
      ? null
      : residentShare(
          samples.map(({ source, storedPage }) => ({ path: files[source]?.path ?? '', page: storedPage })),
        )
  const { bavail, bsize } = statfsSync(directory)
  return {
    hasFlatFile: flat !== undefined,
    dataBytes: dataPages * pageSizeBytes,
    reflinks: flat === undefined && probeReflink(directory) === 'works',
    freeBytes: bavail * bsize,
    extents: map.starts.length,
    canMap: process.arch === 'x64' && checkPtrace().status === 'ok',
    mapperWaits: mapperWaits(),
    hugePages,
    randomAccess,
    recorders,
    needed: {
      isWorkingSet: workingSet !== null,
      bytes: neededPages * pageSizeBytes,
      inFlatFile,
      inLayers,
    },
    memoryBytes: process.availableMemory(),
  }
}
