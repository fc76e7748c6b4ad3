import assert from 'node:assert/strict'
import { captureSnapshot, type EngineName, pageSizeBytes } from 'varve'
import { type ExtentMap, type LayerIndex, pagesFrom, zeroSource } from 'varve/layers'
import {
  complement,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  type Recording,
  recordMincore,
  union,
  writtenPages,
} from 'varve/working-sets'
import { microGuestOwnPages } from './memory-map.js'
import type { MicroVmPlace } from './micro-vm.js'
import { rewrittenOnLoad } from './named-pages.js'
import { type TouchPattern, touchedPages } from './patterns.js'
import { restoreMicroGuest } from './restore-micro-guest.js'

/** Pages far enough apart that reading around is told from touching. */
export interface Touches {
  readonly read: TouchPattern
  readonly written: TouchPattern
  readonly readThenWritten: TouchPattern
}

export interface RecordedRun {
  /** The image that the run started from, and what the Diff at its end says. */
  readonly map: ExtentMap
  readonly nextDiff: LayerIndex
  readonly present: PageSet
  readonly written: PageSet
  readonly groups: readonly PageSet[]
  readonly scans: number
  /** What the guest was told: pages read or written, and pages written. */
  readonly toldPresent: PageSet
  readonly toldWritten: PageSet
  /** Pages that Firecracker or the guest's own code touch, and pages that no file holds. */
  readonly named: PageSet
  readonly inFiles: PageSet
}

/** Restores with a recorder on, has the guest touch known pages, and classifies by the next Diff. */
export async function recordRun(
  place: MicroVmPlace,
  ref: string,
  engine: EngineName,
  told: Touches,
): Promise<RecordedRun> {
  const { store } = place
  let recording: Recording | undefined
  await using guest = await restoreMicroGuest(place, ref, {
    engine,
    randomAccess: true,
    beforeLoad: async (sources) => {
      // A small guest: scans at a smaller growth than the default, so that there are some.
      recording = await recordMincore(sources, { rssGrowthPages: 128 })
    },
  })
  const { machine, console } = guest
  assert.ok(recording)
  await console.read(told.read)
  await recording.scan()
  await console.write(told.written, 77)
  await console.read(told.readThenWritten)
  await console.write(told.readThenWritten, 78)
  const { present, groups, scans } = await recording.stop()
  assert.ok(present)
  const { layer } = await captureSnapshot(await machine.pause(), { store, parent: ref })
  await using snapshot = await store.open(ref)
  const { map } = snapshot
  const pages = (name: keyof Touches) => pageSetFromPages(touchedPages(told[name]))
  const toldWritten = union(pages('written'), pages('readThenWritten'))
  return {
    map,
    nextDiff: layer.index,
    present,
    written: writtenPages(layer.index),
    groups: groups.map(({ set }) => set),
    scans,
    toldPresent: union(pages('read'), toldWritten),
    toldWritten,
    named: pagesWithNames(map.pages * pageSizeBytes),
    inFiles: complement(pagesFrom(map, zeroSource), map.pages),
  }
}

/** Firecracker's segment table and page tables, which the processor reads for the guest. */
const bootTables = [0, 9, 10, 11]

/** Pages of a guest with this much memory that Firecracker or the guest's own code touch in every run. */
export const pagesWithNames = (memoryBytes: number) =>
  union(
    pageSetFromRuns([microGuestOwnPages(memoryBytes)]),
    pageSetFromPages([...Object.values(rewrittenOnLoad), ...bootTables]),
  )
