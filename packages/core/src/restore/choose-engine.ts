import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { zeroSource } from '../layer/extent-map.js'
import { checkPtrace } from '../machine/doctor.js'
import { pageSizeBytes } from '../memory/units.js'
import type { OpenSnapshot } from '../store/store-types.js'
import { probeReflink } from '../sys/reflink.js'
import { hasFlatFile, isFlatBase } from './file-engine.js'

/** What the choice depends on, as found on this host for this snapshot. */
export interface EngineFacts {
  /** A memory file of the image is there: made by an earlier restore, or its base layer alone. */
  readonly hasFlatFile: boolean
  /** Bytes that a flat file would have to be given; blocks shared where the store's file system can. */
  readonly dataBytes: number
  readonly reflinks: boolean
  readonly freeBytes: number
  readonly extents: number
  /** x86_64, and the rights of ptrace over Firecracker. */
  readonly canMap: boolean
  /** A recorder wants to see single pages of layers. */
  readonly randomAccess: boolean
}

export interface EngineChoice {
  readonly engine: 'file' | 'paged' | 'mapped'
  /** A clause for the report: what decided. */
  readonly reason: string
}

/** Copying that takes well below a second where nothing is shared (0.5 GB/s, docs/results/compose.md). */
const smallCopyBytes = 64 * 2 ** 20
/** Beyond it the mapped engine would take a flat file itself. */
const mappableExtents = 512
const mib = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`

/**
 * A flat file costs least per fault and shares its pages between clones, so it wins wherever it is there or cheap to make; else
 * the layers are mapped as they are; else a page server reads them. docs/guides/engines.md has the figures behind this.
 */
export function chooseEngine(facts: EngineFacts): EngineChoice {
  const { dataBytes, freeBytes, extents, canMap } = facts
  if (facts.randomAccess) return { engine: 'paged', reason: 'single pages of the layers are to be seen' }
  if (facts.hasFlatFile) return { engine: 'file', reason: 'a flat memory file is there' }
  if (facts.reflinks) return { engine: 'file', reason: 'a flat file shares its blocks with the layers' }
  const fits = dataBytes <= freeBytes / 2
  if (dataBytes <= smallCopyBytes && fits)
    return { engine: 'file', reason: `a flat file takes a copy of ${mib(dataBytes)} only` }
  if (canMap && extents <= mappableExtents)
    return { engine: 'mapped', reason: `a flat file would take a copy of ${mib(dataBytes)}` }
  if (fits && extents > mappableExtents)
    return { engine: 'file', reason: `${extents} extents are too many to map` }
  return {
    engine: 'paged',
    reason: fits
      ? `a flat file would take a copy of ${mib(dataBytes)}, and this user may not trace Firecracker`
      : `there is no room for a flat file of ${mib(dataBytes)}`,
  }
}

/** Some hundred µs: a few system calls, no reads of data. */
export async function engineFacts(snapshot: OpenSnapshot, randomAccess: boolean): Promise<EngineFacts> {
  const { map, flatPath } = snapshot
  const directory = dirname(flatPath)
  const isThere = isFlatBase(snapshot) || (await hasFlatFile(snapshot))
  let dataPages = 0
  for (let run = 0; run < map.starts.length; run++)
    if (map.sources[run] !== zeroSource) dataPages += map.counts[run] as number
  const { bavail, bsize } = await statfs(directory)
  return {
    hasFlatFile: isThere,
    dataBytes: dataPages * pageSizeBytes,
    reflinks: !isThere && probeReflink(directory) === 'works',
    freeBytes: bavail * bsize,
    extents: map.starts.length,
    canMap: process.arch === 'x64' && checkPtrace().status === 'ok',
    randomAccess,
  }
}
