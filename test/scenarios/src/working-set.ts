import assert from 'node:assert/strict'
import { recordRun, type Touches } from '@varve/lab/testing'
import { hardwareVirtualisation } from 'varve/testing'
import { classifyRun, emptyPageSet, intersect, minus, type PageSet, pagesOf, union } from 'varve/working-sets'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** Over pages of all three layers. */
const scattered: Touches = {
  read: { start: 1030, count: 220, stride: 9, order: 11 },
  written: { start: 1033, count: 110, stride: 18, order: 12 },
  /** Read before and written too: written wins. */
  readThenWritten: { start: 1039, count: 40, stride: 45, order: 13 },
}

/**
 * Present pages from a run on the layers themselves, where the recorder sees single pages; written pages from
 * the Diff after a run on file memory, which is exact on every KVM (docs/notes/kvm-dirty-log.md: with Uffd
 * memory, KVM on VMX or SVM logs a page as written when it is first read). The guest does the same in both.
 */
async function workingSet(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const layers = await recordRun(context, two, 'paged', scattered)
  const flat = await recordRun(context, two, 'file', scattered)
  const { toldPresent, toldWritten, named, inFiles } = layers
  const list = (set: PageSet) => [...pagesOf(set)]
  // A page that is zero in the image is in no file, so mincore cannot see it read;
  // written, a Diff still shows it.
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
