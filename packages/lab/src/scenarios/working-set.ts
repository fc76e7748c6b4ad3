import assert from 'node:assert/strict'
import {
  captureSnapshot,
  classifyRun,
  complement,
  type EngineName,
  type ExtentMap,
  emptyPageSet,
  hardwareVirtualisation,
  intersect,
  type LayerIndex,
  minus,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesFrom,
  pagesOf,
  type Recording,
  recordMincore,
  restoreMachine,
  union,
  writtenPages,
  zeroSource,
} from 'varve'
import { microGuestOwnPages } from '../micro/memory-map.js'
import { MicroConsole } from '../micro/micro-console.js'
import { type TouchPattern, touchedPages } from '../micro/patterns.js'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import { rewrittenOnLoad } from './named-pages.js'
import type { Facts, Scenario, ScenarioContext } from './scenario.js'

/** Over pages of all three layers, far enough apart that reading around is told from touching. */
export interface Touches {
  readonly read: TouchPattern
  readonly written: TouchPattern
  readonly readThenWritten: TouchPattern
}

const scattered: Touches = {
  read: { start: 1030, count: 220, stride: 9, order: 11 },
  written: { start: 1033, count: 110, stride: 18, order: 12 },
  /** Read before and written too: written wins. */
  readThenWritten: { start: 1039, count: 40, stride: 45, order: 13 },
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
  context: ScenarioContext,
  ref: string,
  engine: EngineName,
  told: Touches = scattered,
): Promise<RecordedRun> {
  const { binary, runtimeDirectory, store } = context
  let recording: Recording | undefined
  const { machine } = await restoreMachine(store, ref, {
    engine,
    binary,
    runtimeDirectory,
    randomAccess: true,
    beforeLoad: async (sources) => {
      // A small guest: scans at a smaller growth than the default, so that there are some.
      recording = await recordMincore(sources, { rssGrowthPages: 128 })
    },
  })
  await using _machine = machine
  await using console = MicroConsole.attach(machine.paths)
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
    named: pagesWithNames,
    inFiles: complement(pagesFrom(map, zeroSource), map.pages),
  }
}

/** Firecracker's segment table and page tables, which the processor reads for the guest. */
const bootTables = [0, 9, 10, 11]

/** Pages of `makeThreeLayers` that Firecracker or the guest's own code touch in every run. */
export const pagesWithNames = union(
  pageSetFromRuns([microGuestOwnPages(threeLayersMib * 2 ** 20)]),
  pageSetFromPages([...Object.values(rewrittenOnLoad), ...bootTables]),
)

/**
 * Present pages from a run on the layers themselves, where the recorder sees single pages; written pages from the Diff
 * after a run on file memory, which is exact on every KVM (docs/notes/kvm-dirty-log.md: with Uffd memory, KVM on VMX or
 * SVM logs a page as written when it is first read). The guest does the same in both.
 */
async function workingSet(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const layers = await recordRun(context, two, 'paged')
  const flat = await recordRun(context, two, 'file')
  const { toldPresent, toldWritten, named, inFiles } = layers
  const list = (set: PageSet) => [...pagesOf(set)]
  // A page that is zero in the image is in no file, so mincore cannot see it read; written, a Diff still shows it.
  const visible = intersect(toldPresent, inFiles)

  for (const run of [layers, flat]) {
    assert.deepEqual(list(minus(visible, run.present)), [], 'every touched page that a file holds is present')
    assert.deepEqual(list(minus(toldWritten, run.written)), [], 'every written page is in the Diff')
  }
  assert.deepEqual(
    list(minus(layers.present, union(toldPresent, named))),
    [],
    'no page of a layer is present that was not touched',
  )
  assert.deepEqual(
    list(minus(flat.written, union(toldWritten, named))),
    [],
    'the Diff holds no page that was not written',
  )
  const readInDiff = minus(layers.written, union(toldWritten, named))
  const readMayCount = hardwareVirtualisation() ? toldPresent : emptyPageSet
  assert.deepEqual(
    list(minus(readInDiff, readMayCount)),
    [],
    'with Uffd memory the Diff holds touched pages at most',
  )

  const { sets } = classifyRun({ map: layers.map, present: layers.present, nextDiff: flat.nextDiff })
  const told = minus(visible, toldWritten)
  assert.deepEqual(
    list(minus(sets['read-only'], named)),
    list(minus(told, named)),
    'read-only = present − written',
  )
  return {
    told: counts(toldPresent, toldWritten),
    found: counts(layers.present, flat.written),
    namedPresent: list(intersect(layers.present, minus(named, toldPresent))),
    presentOnTheFlatFile: flat.present.pages,
    groups: layers.groups.map(({ pages }) => pages),
    scans: layers.scans,
    readPagesInTheDiffOfUffdMemory: readInDiff.pages,
  }
}

const counts = (present: PageSet, written: PageSet) => ({
  present: present.pages,
  written: written.pages,
  readOnly: minus(present, written).pages,
})

export const workingSetScenario: Scenario = {
  name: 'working-set',
  claim:
    'mincore on the layers finds the touched pages, the next Diff the written ones, and the rest is read-only: as told',
  run: workingSet,
  // ground-truth does the same with every recorder.
  nativeIsEnough: true,
}
