import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { restoreMicroGuest } from '@varve/lab/testing'
import { connectMachine, engineNames, type PrefetchMode, type RestoreUsage, restoreUsage } from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'
import { pageRange, pageSetFromRuns, type WorkingSet } from 'varve/working-sets'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** Data of all three layers, and 50 pages of zeros that nothing is read for. */
const readOnly = pageSetFromRuns([
  { start: 1100, count: 600 },
  { start: 2100, count: 300 },
  { start: 2600, count: 200 },
  { start: 4000, count: 50 },
])
const written = pageRange(7000, 100)
const ofData = 1200
/** Writing copies one page a fault; reading would map the neighbours, too. */
const touched = [
  { start: 1100, count: 40 },
  { start: 2100, count: 30, order: 3 },
  { start: 7000, count: 20 },
]
const touchedPages = 90
const touchedReadOnly = 70
/** Faults of Firecracker itself while the guest works: its threads’ stacks and heap. */
const ownFaults = 64

interface Case {
  readonly engine: (typeof engineNames)[number]
  readonly prefetch: PrefetchMode
  readonly cache: 'cold' | 'warm'
  /** Most that may be said to be unused: page tables do not tell of every page whether it was touched. */
  readonly atMost: number
}

const untouched = ofData - touchedPages
const cases: readonly Case[] = [
  { engine: 'file', prefetch: 'before', cache: 'warm', atMost: untouched },
  { engine: 'file', prefetch: 'concurrent', cache: 'cold', atMost: untouched },
  // All of it is mapped ahead; that a page was touched shows where it was not to
  // be written, and is a copy now.
  { engine: 'mapped', prefetch: 'before', cache: 'warm', atMost: ofData - touchedReadOnly },
  { engine: 'mapped', prefetch: 'concurrent', cache: 'cold', atMost: ofData - touchedReadOnly },
  { engine: 'paged', prefetch: 'before', cache: 'warm', atMost: ofData },
]

async function usage(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using snapshot = await context.store.open(two)
  const { entry, map, files, flatPath } = snapshot
  const zero = pagesFrom(map, zeroSource).pages
  const ofLayers = files.map((_, layer) => pagesFrom(map, layer).pages)
  const workingSet: WorkingSet = {
    image: entry.id,
    pages: map.pages,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly,
    written,
    groups: [],
    notes: {},
  }
  const found: Record<string, RestoreUsage> = {}
  for (const engine of engineNames) {
    await using without = await restoreMicroGuest(context, two, { engine, resume: false })
    const { byClass, byOrigin } = without.report.pages
    const cold = map.pages - zero
    assert.deepEqual(byClass, { zero, cold, 'read-only': 0, written: 0 })
    const data = engine === 'file' ? [0, 0, 0] : ofLayers
    assert.deepEqual(byOrigin, { zero, flatFile: engine === 'file' ? cold : 0, layers: data })
    assert.equal((await without.usage()).prefetched, null)
  }
  const touch = async ({ engine, prefetch, cache }: Case) => {
    for (const path of [flatPath, ...files.map((it) => it.path)])
      if (cache === 'cold') dropFromCache(path)
      else readFileSync(path)
    await using restored = await restoreMicroGuest(context, two, { engine, prefetch, workingSet })
    const { report, console } = restored
    // The 50 zero pages that were read are of the set's class, and come from nowhere.
    const classes = { zero: zero - 50, cold: map.pages - zero - ofData, 'read-only': 1150, written: 100 }
    assert.deepEqual(report.pages.byClass, classes)
    const fetched = await restored.prefetching
    const before = await restored.usage()
    for (const pattern of touched) assert.equal(await console.write(pattern, 9), pattern.count)
    return { fetched, before, after: await restored.usage() }
  }
  for (const it of cases) {
    const { engine, prefetch, cache, atMost } = it
    let run = await touch(it)
    // The kernel may take pages out of its cache at any moment; what is read each of nine
    // times is not the kernel's doing.
    for (let again = 0; again < 8 && cache === 'warm' && readSome(run); again++) run = await touch(it)
    const { fetched, before, after } = run
    const what = `${engine}, ${prefetch}, ${cache}: ${JSON.stringify({ before, after })}`
    assert.equal(after.prefetched?.pages, ofData, what)
    const { unused } = after.prefetched
    assert.equal(unused.atMost, atMost, what)
    assert.ok(unused.atLeast <= untouched, what)
    if (engine === 'file') assert.equal(unused.atLeast, untouched, what)
    const faults = after.faults.minor + after.faults.major - before.faults.minor - before.faults.major
    // A page that was put there to be written does not fault again; one that is there to be read does, to be
    // copied. Alongside the guest a thread of the VMM still fetches pages, each with a fault at most.
    const least = { file: touchedPages, mapped: touchedReadOnly, paged: 0 }[engine]
    const most = touchedPages + ownFaults + (engine === 'mapped' && prefetch === 'concurrent' ? ofData : 0)
    assert.ok(faults >= least && faults <= most, `${faults} faults; ${what}`)
    if (cache === 'warm') assert.ok(!readSome(run), what)
    if (engine !== 'paged') {
      assert.equal(after.readBytes.prefetch, (fetched?.pages ?? 0) * 4096, what)
      assert.equal(after.readBytes.prefetch === 0, cache === 'warm', what)
    } else assert.ok(after.pageServer !== null, what)
    found[`${engine}, ${prefetch}, ${cache}`] = after
  }
  return { found, foundAgain: await coldWithoutSet(context, two, flatPath) }
}

/** Whether anything came from the disk: to fetch pages, or while the guest worked. */
function readSome({
  before,
  after,
}: {
  readonly before: RestoreUsage
  readonly after: RestoreUsage
}): boolean {
  return after.readBytes.vmm !== before.readBytes.vmm || (after.readBytes.prefetch ?? 0) > 0
}

/** The VMM reads by itself what was not brought; and another handle of the machine tells the same. */
async function coldWithoutSet(
  context: ScenarioContext,
  ref: string,
  flatPath: string,
): Promise<RestoreUsage> {
  dropFromCache(flatPath)
  await using guest = await restoreMicroGuest(context, ref, { engine: 'file' })
  const { machine, usage, console } = guest
  const before = await usage()
  for (const pattern of touched) await console.read(pattern)
  const found = await connectMachine(machine.id, { runtimeDirectory: context.runtimeDirectory })
  assert.ok(found.state !== 'launched')
  const after = await restoreUsage(found)
  const read = (after.readBytes.vmm ?? 0) - (before.readBytes.vmm ?? 0)
  assert.ok(after.faults.major > before.faults.major, JSON.stringify({ before, after }))
  // Read-ahead brings more than was touched, at most the data there is.
  assert.ok(read >= touchedPages * 4096 && read <= 2700 * 4096, `${read} bytes were read`)
  return after
}

/** dd(1), "Discard cache for the whole file". */
function dropFromCache(path: string): void {
  const { status, stderr } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'])
  assert.equal(status, 0, String(stderr))
}

export const restoreUsageScenario: Scenario = {
  name: 'restore-usage',
  nativeIsEnough: true,
  claim:
    'a restore reports pages by class and origin, faults, bytes read, and which pages of a set nobody touched',
  run: usage,
}
