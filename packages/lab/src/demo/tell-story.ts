import { statSync } from 'node:fs'
import { cpus, release } from 'node:os'
import {
  type CapturedSnapshot,
  type EngineName,
  flattenSnapshot,
  formatFirecrackerVersion,
  takeSnapshot,
} from 'varve'
import { compareImages, countPages, pagesFrom, zeroSource } from 'varve/layers'
import { hardwareVirtualisation } from 'varve/testing'
import { classifyRun, intersect, minus, type WorkingSet } from 'varve/working-sets'
import { type SetRow, setRow } from '../experiments/rows.js'
import { MicroVm, type MicroVmPlace, type Written } from '../micro/micro-vm.js'
import { divideByName } from '../micro/named-pages.js'
import { type RecordedRun, recordRun, type Touches } from '../micro/record-run.js'
import { demoHeatMap } from './demo-heat-map.js'
import { type DemoLayer, type DemoRestore, type DemoResult, demoEngines } from './demo-result.js'

const memoryMib = 128
/** What the guest is told to touch while a recorder watches, over all three layers. */
const touches: Touches = {
  read: { start: 2000, count: 800, stride: 20, order: 11 },
  written: { start: 12_000, count: 300, stride: 20, order: 12 },
  readThenWritten: { start: 20_010, count: 40, stride: 20, order: 13 },
}
/** The pass that restores are timed over: pages of all layers, in no order. */
const pass = { start: 1024, count: 4000, stride: 5, order: 9 }

const area = (start: number, count: number, seed: number): Written => ({ pattern: { start, count }, seed })
/** Each layer overwrites a part of the one below and adds something. */
const steps: readonly { readonly name: string; readonly writes: readonly Written[] }[] = [
  { name: 'base', writes: [area(1024, 20_000, 1)] },
  { name: 'one', writes: [area(3000, 2000, 2), area(24_000, 500, 2)] },
  { name: 'two', writes: [area(4000, 1500, 3), area(28_000, 500, 3)] },
]

/** Where the demo works. Everything that it makes lies under the directory that `path` leads into. */
export interface DemoContext extends MicroVmPlace {
  readonly lab: 'native' | 'nested'
  path(name: string): string
}

export interface DemoOptions {
  /** Timed restores per engine. */
  readonly rounds?: number
  readonly onProgress?: ((message: string) => void) | undefined
}

/** Boots, layers, records, restores, checks. Everything it makes lies in the context's directory. */
export async function tellStory(context: DemoContext, options: DemoOptions = {}): Promise<DemoResult> {
  const { rounds = 5, onProgress = () => {} } = options
  onProgress('booting a guest and taking three layers')
  const { top, layers, bootMs } = await makeLayers(context)
  const flattenMs = await timed(async () => {
    await using snapshot = await context.store.open(top)
    await flattenSnapshot(snapshot)
  })
  onProgress('recording what a restored guest touches')
  const onLayers = await recordRun(context, top, 'paged', touches)
  const onFile = await recordRun(context, top, 'file', touches)
  // Each run if it is exact; see docs/notes/kvm-dirty-log.md.
  const run = { ...onLayers, written: onFile.written }
  const classes = classifyRun({ map: onLayers.map, present: onLayers.present, nextDiff: onFile.nextDiff })
  onProgress(`restoring ${rounds} times each way`)
  const restores = await timeRestores(context, top, rounds)
  onProgress('comparing restored memory with the composed image')
  const checks = []
  for (const engine of demoEngines) checks.push(await checkImage(context, top, engine))
  return {
    createdAt: new Date().toISOString(),
    lab: context.lab,
    environment: environment(context),
    guest: { memoryMib, pages: memoryMib * 256, bootMs },
    layers,
    workingSet: workingSet(run),
    set: await recordedSet(context, top, run),
    heatMap: demoHeatMap(classes),
    restores,
    checks: [
      ...checks,
      { what: 'flattening the chain into one file, once', result: `${flattenMs.toFixed(0)} ms` },
    ],
  }
}

async function recordedSet({ store }: DemoContext, ref: string, run: RecordedRun): Promise<SetRow> {
  const { map, present, written } = run
  const workingSet: WorkingSet = {
    image: (await store.resolve(ref)).id,
    pages: map.pages,
    recordedAtMs: Date.now(),
    windowMs: 0,
    readOnly: minus(present, written),
    written,
    groups: [],
    notes: {},
  }
  return setRow('the restored guest', {}, workingSet, pagesFrom(map, zeroSource))
}

async function makeLayers(
  context: DemoContext,
): Promise<{ top: string; layers: DemoLayer[]; bootMs: number }> {
  const start = performance.now()
  await using vm = await MicroVm.boot(context, { memoryMib })
  const bootMs = performance.now() - start
  const layers: DemoLayer[] = []
  let parent: string | undefined
  for (const { name, writes } of steps) {
    await vm.resume()
    await vm.fill(...writes)
    const taken = await takeSnapshot(await vm.pause(), { store: context.store, parent })
    layers.push(await demoLayer(context, name, await taken.seal({ tags: [name] })))
    parent = name
  }
  return { top: parent as string, layers, bootMs }
}

async function demoLayer(
  { store }: DemoContext,
  name: string,
  { layer, type, createMs }: CapturedSnapshot,
): Promise<DemoLayer> {
  await using snapshot = await store.open(name)
  const { data, zero, absent } = countPages(layer.index)
  return {
    name,
    kind: type === 'Full' ? 'full' : 'diff',
    dataPages: data,
    zeroPages: zero,
    absentPages: absent,
    allocatedBytes: allocatedBytes(snapshot.files.at(-1)?.path as string),
    pauseMs: createMs,
  }
}

async function timeRestores(context: DemoContext, ref: string, rounds: number): Promise<DemoRestore[]> {
  const rows = demoEngines.map((engine) => ({
    engine,
    firstAnswerMs: [] as number[],
    wholePassMs: [] as number[],
  }))
  // Round 0 warms caches for both and is not counted; the order alternates, so
  // that neither always goes first.
  for (let round = 0; round <= rounds; round++)
    for (const row of round % 2 === 0 ? rows : [...rows].reverse()) {
      const start = performance.now()
      await using vm = await MicroVm.restore(context, ref, row.engine)
      await vm.resume()
      await vm.console.ping()
      const firstAnswer = performance.now() - start
      await vm.console.read(pass)
      if (round === 0) continue
      row.firstAnswerMs.push(firstAnswer)
      row.wholePassMs.push(performance.now() - start)
    }
  return rows
}

async function checkImage(
  context: DemoContext,
  ref: string,
  engine: EngineName,
): Promise<{ what: string; result: string }> {
  await using vm = await MicroVm.restore(context, ref, engine)
  await vm.resume()
  // The last layer that wrote a page decides what it must hold.
  const verified = await vm.verify(
    area(4000, 1500, 3),
    area(3000, 1000, 2),
    area(5500, 15_524, 1),
    area(1024, 1976, 1),
  )
  const memoryPath = context.path(`check-${engine}`)
  await (await vm.pause()).snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
  await using snapshot = await context.store.open(ref)
  const { vmm, guestOwn, unexplained } = divideByName(await compareImages(snapshot, memoryPath), memoryMib)
  const named = `${vmm.length} rewritten by Firecracker on load (page ${vmm.join(', ')}: VMGenID), ${guestOwn.pages} of the guest’s own`
  return {
    what: `image after a restore by ${engine}, all ${memoryMib * 256} pages`,
    result: `${verified} pages checked by the guest; ${unexplained.pages === 0 ? 'byte-identical' : `${unexplained.pages} PAGES DIFFER`} but for ${named}`,
  }
}

function workingSet(run: RecordedRun): DemoResult['workingSet'] {
  const { present, written, toldPresent, toldWritten, named } = run
  const extraPresent = minus(present, toldPresent)
  const byName = intersect(extraPresent, named).pages
  const unnamed = extraPresent.pages - byName
  return {
    told: {
      present: toldPresent.pages,
      written: toldWritten.pages,
      readOnly: minus(toldPresent, toldWritten).pages,
    },
    found: { present: present.pages, written: written.pages, readOnly: minus(present, written).pages },
    extra: [
      { pages: byName, why: 'pages of the guest’s own code and tables, and VMGenID, which the load writes' },
      ...(unnamed === 0 ? [] : [{ pages: unnamed, why: 'no reason known' }]),
    ],
    missing: minus(toldPresent, present).pages,
  }
}

function environment({ binary, lab }: DemoContext): Record<string, string> {
  return {
    Firecracker: formatFirecrackerVersion(binary.version),
    CPU: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    kernel: `Linux ${release()}`,
    KVM: kvmOf(lab),
    Node: process.version,
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Bytes a sparse file takes on disk (stat(2): st_blocks counts 512-byte units). */
const allocatedBytes = (path: string) => statSync(path).blocks * 512

function kvmOf(lab: DemoContext['lab']): string {
  if (lab === 'nested') return 'nested'
  return hardwareVirtualisation() ? 'hardware' : 'software (no vmx or svm)'
}
