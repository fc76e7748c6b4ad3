import assert from 'node:assert/strict'
import { type TouchPattern, touchedPages } from '@varve/lab'
import { pagesWithNames, restoreMicroGuest } from '@varve/lab/testing'
import type { EngineName } from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'
import { hardwareVirtualisation } from 'varve/testing'
import {
  complement,
  intersect,
  type JointRecording,
  minus,
  type PageSet,
  pageRange,
  pageSetFromPages,
  pagesOf,
  type RecordedPages,
  type RecorderName,
  recordTogether,
  unionAll,
} from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import { readAheadKb, setReadAheadKb } from './read-ahead.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

interface Step {
  readonly act: 'read' | 'write' | 'zero'
  readonly pages: TouchPattern
}

const read = (pages: TouchPattern): Step => ({ act: 'read', pages })
const write = (pages: TouchPattern): Step => ({ act: 'write', pages })

const ownPages = pagesWithNames(threeLayersMib * 2 ** 20)

/** Over pages of all three layers; strides tell what the kernel reads around from what was touched. */
const strided = { start: 1030, count: 250, stride: 10 }
const scattered = { ...strided, order: 11 }

/**
 * What the guest is told in a run. In the image of `makeThreeLayers` pages 3324 to 3573 were
 * zeroed, 3624 to 6999 never written.
 */
const patterns: Readonly<Record<string, readonly Step[]>> = {
  'sequential reads': [read({ start: 1100, count: 400 })],
  'strided reads': [read(strided)],
  'random reads': [read(scattered)],
  'sequential writes': [write({ start: 1100, count: 400 })],
  'strided writes': [write(strided)],
  'random writes': [write(scattered)],
  'reads, then writes of the same': [read(scattered), write({ ...strided, order: 12 })],
  'reads and writes apart': [
    read({ start: 1030, count: 200, stride: 12, order: 3 }),
    write({ start: 1036, count: 200, stride: 12, order: 4 }),
  ],
  'zero pages read': [
    read({ start: 3324, count: 100, stride: 2 }),
    read({ start: 4000, count: 100, stride: 9, order: 5 }),
  ],
  'zero pages written': [
    write({ start: 3325, count: 100, stride: 2 }),
    write({ start: 4000, count: 100, stride: 9, order: 5 }),
  ],
  'data pages zeroed': [{ act: 'zero', pages: { start: 1100, count: 60, stride: 5 } }],
}

/**
 * How a VM is restored and watched. A recorder that can watch such a VM belongs in
 * `recorders`: it is then held to the truth.
 */
interface Setup {
  readonly name: string
  readonly engine: EngineName
  readonly recorders: readonly RecorderName[]
  readonly holdFaultAround: boolean
  /** Only on a device of the lab's own; else as it is. */
  readonly readAheadKb?: number
  readonly patterns: readonly string[]
}

const all = Object.keys(patterns)
const fileRecorders = ['mincore', 'pagemap', 'diff'] as const

function setups({ lab }: ScenarioContext): readonly Setup[] {
  const file = { engine: 'file', recorders: fileRecorders, holdFaultAround: true } as const
  const some = ['random reads', 'reads and writes apart'].slice(lab === 'native' ? 0 : 1)
  return [
    { ...file, name: 'file', patterns: all },
    { ...file, name: 'file, fault-around left alone', holdFaultAround: false, patterns: some },
    // Single pages are seen: the page server has no read-ahead in the layers (MADV_RANDOM on its mappings).
    {
      name: 'paged, random access',
      engine: 'paged',
      recorders: ['mincore', 'diff'],
      holdFaultAround: false,
      // Emulated, a run takes seconds.
      patterns: lab === 'native' ? all : some,
    },
    // Pages are write-protected for it, which makes KVM's log exact, too, and then so is the Diff.
    {
      name: 'paged, protected',
      engine: 'paged',
      recorders: ['faults', 'diff'],
      holdFaultAround: false,
      patterns: lab === 'native' ? all : some,
    },
    ...(lab === 'native' ? [] : [16, 4]).map((kb) => ({
      ...file,
      name: `file, read-ahead of ${kb} KiB`,
      readAheadKb: kb,
      patterns: some,
    })),
  ]
}

/** One recorder's set in one run, against what the guest was told. Numbers are pages. */
/** What one recorder found in one run, against what the guest was told. */
export interface GroundTruthRow {
  readonly lab: string
  readonly setup: string
  readonly pattern: string
  readonly recorder: RecorderName
  readonly set: 'present' | 'written'
  readonly readAheadKb: number | null
  /** Null if it makes no difference. */
  readonly faultAroundHeld: boolean | null
  /** What the recorder says of itself. */
  readonly exact: boolean
  readonly expected: number
  readonly found: number
  readonly missing: number
  /** Found, not told, and with a name: Firecracker's pages and those of the guest's own code. */
  readonly named: number
  /** Found, not told, without a name. */
  readonly extra: number
  /** If the recorder gives a bound for the last two. */
  readonly tooManyAtMost: number | null
}

interface Truth {
  readonly touched: PageSet
  readonly written: PageSet
  /** Pages that are in a file at all. */
  readonly inFiles: PageSet
}

async function groundTruth(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const asFound = readAheadKb(context.directory)
  const rows: GroundTruthRow[] = []
  try {
    for (const setup of setups(context)) {
      if (setup.readAheadKb !== undefined && !setReadAheadKb(context.directory, setup.readAheadKb)) continue
      for (const pattern of setup.patterns) rows.push(...(await runOnce(context, two, setup, pattern)))
    }
  } finally {
    if (context.lab === 'nested' && asFound !== null) setReadAheadKb(context.directory, asFound)
  }
  return { patterns: all.length, named: [...pagesOf(ownPages)], readAheadKb: asFound, rows }
}

async function runOnce(
  context: ScenarioContext,
  ref: string,
  setup: Setup,
  pattern: string,
): Promise<readonly GroundTruthRow[]> {
  const { engine, recorders, holdFaultAround } = setup
  let recording: JointRecording | undefined
  await using guest = await restoreMicroGuest(context, ref, {
    engine,
    randomAccess: true,
    beforeLoad: async (sources) => {
      recording = await recordTogether(sources, recorders, { holdFaultAround })
    },
  })
  const { console } = guest
  await using _recording = recording
  assert.ok(recording)
  const steps = patterns[pattern] ?? []
  for (const { act, pages } of steps) {
    if (act === 'read') await console.read(pages)
    else if (act === 'write') await console.write(pages, 77)
    else await console.zero(pages)
  }
  const recorded = await recording.stop()
  await using snapshot = await context.store.open(ref)
  const { map } = snapshot
  const told = (wanted: readonly Step[]) =>
    unionAll(wanted.map(({ pages }) => pageSetFromPages(touchedPages(pages))))
  const truth: Truth = {
    touched: told(steps),
    written: told(steps.filter(({ act }) => act !== 'read')),
    inFiles: engine === 'file' ? pageRange(0, map.pages) : complement(pagesFrom(map, zeroSource), map.pages),
  }
  return recorded.flatMap((it) => judge(context, setup, pattern, it, truth))
}

/** Throws if a recorder does not keep what it promises. */
function judge(
  context: ScenarioContext,
  setup: Setup,
  pattern: string,
  recorded: RecordedPages,
  truth: Truth,
): readonly GroundTruthRow[] {
  const { recorder } = recorded
  const around = recorded.notes.faultAround as { held: boolean; tooManyAtMost?: number } | undefined
  return (['present', 'written'] as const).flatMap((set) => {
    const found = recorded[set]
    if (found === null) return []
    const told = set === 'written' ? truth.written : truth.touched
    // A page that is in no layer's file cannot come into the page cache.
    const expected = recorder === 'mincore' ? intersect(told, truth.inFiles) : told
    const missing = minus(expected, found)
    const more = minus(found, told)
    const extra = minus(more, ownPages)
    const row: GroundTruthRow = {
      lab: context.lab,
      setup: setup.name,
      pattern,
      recorder,
      set,
      readAheadKb: readAheadKb(context.directory),
      faultAroundHeld: around?.held ?? null,
      exact: recorded.exact[set],
      expected: expected.pages,
      found: found.pages,
      missing: missing.pages,
      named: more.pages - extra.pages,
      extra: extra.pages,
      tooManyAtMost: set === 'present' ? (around?.tooManyAtMost ?? null) : null,
    }
    const what = `${recorder}, ${set}, ${setup.name}, ${pattern}`
    assert.deepEqual([...pagesOf(missing)], [], `${what}: a page is missing`)
    if (row.exact) assert.deepEqual([...pagesOf(extra)], [], `${what}: a page is there that nobody touched`)
    if (row.tooManyAtMost !== null) assert.ok(row.extra <= row.tooManyAtMost, `${what}: more than its bound`)
    if (row.faultAroundHeld === true && set === 'present')
      assert.ok(row.exact, `${what} is not exact though it held fault-around`)
    if (set === 'written') checkWritten(setup, row, minus(extra, truth.touched), what)
    return [row]
  })
}

function checkWritten(setup: Setup, row: GroundTruthRow, untouched: PageSet, what: string): void {
  assert.deepEqual([...pagesOf(untouched)], [], `${what}: a page that nobody touched`)
  if (setup.engine === 'file') assert.ok(row.exact, `${what} is not exact on file memory`)
  // docs/notes/kvm-dirty-log.md: with Uffd memory KVM on VMX or SVM logs read pages too.
  // Faults do not come from that log.
  else if (row.recorder === 'faults' || !hardwareVirtualisation())
    assert.equal(row.extra, 0, `${what}: extra pages`)
}

export const groundTruthScenario: Scenario = {
  name: 'ground-truth',
  claim:
    'what each recorder finds of pages that a guest was told to touch: nothing is missing, and nothing is extra where it says exact',
  run: groundTruth,
}
