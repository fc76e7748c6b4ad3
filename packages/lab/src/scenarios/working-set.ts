import assert from 'node:assert/strict'
import {
  captureSnapshot,
  classifyRun,
  complement,
  type EngineName,
  intersect,
  minus,
  openSnapshotChain,
  type PageClasses,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesFrom,
  pagesOf,
  type Recording,
  recordMincore,
  restoreMachine,
  union,
  zeroSource,
} from 'varve'
import { microGuestOwnPages } from '../micro/memory-map.js'
import { MicroConsole } from '../micro/micro-console.js'
import { touchedPages } from '../micro/patterns.js'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import { rewrittenOnLoad } from './named-pages.js'
import type { Facts, Scenario, ScenarioContext } from './scenario.js'

/** Over pages of all three layers, far enough apart that reading around is told from touching. */
const told = {
  read: { start: 1030, count: 220, stride: 9, order: 11 },
  written: { start: 1033, count: 110, stride: 18, order: 12 },
  /** Read before and written too: written wins. */
  readThenWritten: { start: 1039, count: 40, stride: 45, order: 13 },
} as const

export interface RecordedRun {
  readonly classes: PageClasses
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
  directory: string,
  engine: EngineName,
): Promise<RecordedRun> {
  const { binary, runtimeDirectory } = context
  let recording: Recording | undefined
  const { machine } = await restoreMachine(directory, {
    engine,
    binary,
    runtimeDirectory,
    randomAccess: true,
    beforeLoad: async ({ files, map, vmmPid }) => {
      // A small guest: scans at a smaller growth than the default, so that there are some.
      recording = await recordMincore({ files, map, vmmPid, rssGrowthPages: 128 })
    },
  })
  await using _machine = machine
  await using console = MicroConsole.attach(machine.paths)
  assert.ok(recording)
  await console.read(told.read)
  recording.scan()
  await console.write(told.written, 77)
  await console.read(told.readThenWritten)
  await console.write(told.readThenWritten, 78)
  const { present, groups, scans } = await recording.stop()
  const next = context.path(`next-${engine}`)
  const { layer } = await captureSnapshot(await machine.pause(), { directory: next, parent: directory })
  const { map } = await openSnapshotChain(directory)
  const pages = (name: keyof typeof told) => pageSetFromPages(touchedPages(told[name]))
  const toldWritten = union(pages('written'), pages('readThenWritten'))
  const classes = classifyRun({ map, present, nextDiff: layer })
  return {
    classes,
    present,
    written: classes.sets.written,
    groups,
    scans,
    toldPresent: union(pages('read'), toldWritten),
    toldWritten,
    named: union(
      pageSetFromRuns([microGuestOwnPages(threeLayersMib * 2 ** 20)]),
      pageSetFromPages([...Object.values(rewrittenOnLoad), ...bootTables]),
    ),
    inFiles: complement(pagesFrom(map, zeroSource), map.pages),
  }
}

/** Firecracker's segment table and page tables, which the processor reads for the guest. */
const bootTables = [0, 9, 10, 11]

async function workingSet(context: ScenarioContext, engine: EngineName, exact: boolean): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const run = await recordRun(context, two, engine)
  const { toldPresent, toldWritten, named, inFiles } = run
  const list = (set: PageSet) => [...pagesOf(set)]

  assert.deepEqual(list(minus(toldWritten, run.written)), [], 'every written page is in the Diff')
  assert.deepEqual(
    list(minus(run.written, union(toldWritten, named))),
    [],
    'the Diff holds no page that has no name',
  )
  // A page that is zero in the image is in no file, so mincore cannot see it read; written, the Diff still shows it.
  const visible = intersect(toldPresent, inFiles)
  assert.deepEqual(list(minus(visible, run.present)), [], 'every touched page that a file holds is present')
  const extra = minus(run.present, union(toldPresent, named))
  if (exact) assert.deepEqual(list(extra), [], 'no page is present that was not touched')

  const readOnly = run.classes.sets['read-only']
  assert.deepEqual(list(readOnly), list(minus(run.present, run.written)), 'read-only = present − written')
  assert.deepEqual(list(minus(minus(visible, toldWritten), readOnly)), [])
  return {
    told: {
      present: toldPresent.pages,
      written: toldWritten.pages,
      readOnly: minus(toldPresent, toldWritten).pages,
    },
    found: { present: run.present.pages, written: run.written.pages, readOnly: readOnly.pages },
    zeroInImage: minus(toldPresent, inFiles).pages,
    namedPresent: list(intersect(run.present, minus(named, toldPresent))),
    extraPresent: extra.pages,
    groups: run.groups.map(({ pages }) => pages),
    scans: run.scans,
  }
}

export const workingSetScenarios: readonly Scenario[] = [
  {
    name: 'working-set-paged',
    claim:
      'mincore on each layer file finds exactly the touched pages; the next Diff those written; read-only is the rest',
    run: (context) => workingSet(context, 'paged', true),
  },
  {
    name: 'working-set-file',
    claim: 'mincore on the flat file finds every touched page (and what the kernel read around them)',
    run: (context) => workingSet(context, 'file', false),
  },
]
