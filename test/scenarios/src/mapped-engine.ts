import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import {
  cloneMachines,
  type EngineName,
  engineNames,
  isVarveError,
  launchMachine,
  memoryUse,
  type PausedMachine,
  type ProcessIdentity,
  type RestoreOptions,
  type RunningMachine,
  restoreMachine,
} from 'varve'
import { flatten } from 'varve/layers'
import { isAlive } from 'varve/testing'
import { pageRange, pageSetFromRuns, type WorkingSet } from 'varve/working-sets'
import { canHaveAlongsideThread } from './alongside-thread.js'
import { furtherDiff } from './further-diff.js'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const later: Written = { pattern: { start: 2000, count: 700, order: 5 }, seed: 9 }
const still: Written = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }

async function mappedChain(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using vm = await MicroVm.restore(context, two, 'mapped')
  const left = traces(vm.machine.pid)
  assert.deepEqual(left, { tracer: 0, layerDescriptors: [], executableWithoutFile: [], seccomp: 2 })
  return await furtherDiff(context, vm, two, engineNames)
}

/** What a tracer could have left behind in a VMM. */
function traces(pid: number) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const number = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(status)?.[1])
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
  return {
    tracer: number('TracerPid'),
    layerDescriptors: readdirSync(`/proc/${pid}/fd`)
      .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
      .filter((target) => /sha256/.test(target)),
    executableWithoutFile: maps.filter((line) => / [r-][w-]xp /.test(line) && / 0 +$/.test(line)),
    seccomp: number('Seccomp'),
  }
}

/**
 * A working set's pages are there before the guest runs: shared if they were only read, private if written.
 */
async function mappedPrefault(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const { binary, runtimeDirectory, store } = context
  const { entry, map } = await store.open(two).then(async (snapshot) => {
    await using open = snapshot
    return { entry: open.entry, map: open.map }
  })
  const readOnly = pageSetFromRuns([
    { start: 1024, count: 800 },
    { start: 2600, count: 300 },
  ])
  const written = pageRange(2024, 200)
  const workingSet: WorkingSet = {
    image: entry.id,
    pages: map.pages,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly,
    written,
    groups: [{ atMs: 1, set: pageRange(1024, 300) }],
    notes: {},
  }
  const idle = async (
    set: WorkingSet | undefined,
    when: Pick<RestoreOptions, 'prefetch' | 'prefetchBudgetMs'> = { prefetch: 'before' },
  ) => {
    const { machine, report, prefetching } = await restoreMachine(store, two, {
      engine: 'mapped',
      binary,
      runtimeDirectory,
      resume: false,
      ...(set === undefined ? {} : { workingSet: set, ...when }),
    })
    await using _machine = machine
    const failure = (await prefetching)?.failure ?? null
    assert.equal(helperThreads(machine.pid), 0, 'a thread that brings pages is gone when they are there')
    assert.deepEqual(traces(machine.pid).executableWithoutFile, [])
    return { prefault: report.mapping?.prefault, failure, ...memoryOf(machine.pid) }
  }
  const without = await idle(undefined)
  const withSet = await idle(workingSet)
  const all = { readOnlyPages: 1100, writtenPages: 200, refusedCalls: 0, heldBecause: null }
  assert.deepEqual([withSet.prefault, withSet.failure], [{ ...all, besidePages: 0, thread: null }, null])
  const beside = await idle(workingSet, { prefetch: 'concurrent' })
  const alongside = canHaveAlongsideThread(binary.path)
  const thread = beside.prefault?.thread ?? null
  assert.equal(thread !== null && thread > 1, alongside)
  const besideThen = { ...all, besidePages: alongside ? 1300 : 0, thread }
  assert.deepEqual([beside.prefault, beside.failure], [besideThen, null])
  // Whatever came within the budget, and by the thread: all, none, or some of both.
  const budgets = [60_000, 0.001, 0.5, 1, 2]
  const split = []
  for (const prefetchBudgetMs of budgets)
    split.push(await idle(workingSet, { prefetch: 'before', prefetchBudgetMs }))
  const besidePages = split.map(({ prefault }) => prefault?.besidePages)
  assert.equal(besidePages[0], 0)
  assert.equal((besidePages[1] ?? 0) > 0, alongside, 'at once it is over')
  for (const it of [beside, ...split]) {
    assert.ok(Math.abs(it.anonymousKib - withSet.anonymousKib) <= 64, 'by a thread it comes to the same')
    assert.ok(it.rssKib >= withSet.rssKib - 256)
  }
  const anonymous = withSet.anonymousKib - without.anonymousKib
  // Firecracker's own heap is in these figures, too.
  assert.ok(Math.abs(anonymous - 800) <= 64, `200 written pages took ${anonymous} KiB`)
  const mapped = withSet.rssKib - without.rssKib - anonymous
  assert.ok(mapped >= 4400 - 256, `1,100 read-only pages took ${mapped} KiB`)
  return { without, with: withSet, alongside, besidePages }
}

/** Threads without a name of their own: Firecracker's are its main one, `fc_api` and `fc_vcpu N`. */
function helperThreads(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .filter((tid) => tid !== `${pid}`)
    .map((tid) => readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8'))
    .filter((name) => !name.startsWith('fc_')).length
}

function memoryOf(pid: number): { readonly rssKib: number; readonly anonymousKib: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1])
  return { rssKib: kib('Rss'), anonymousKib: kib('Anonymous') }
}

/**
 * An image of many small runs: from its layers one mapping each, from a flat file,
 * once there is one, hardly any.
 */
async function mappedScattered(context: ScenarioContext): Promise<Facts> {
  const lower: Written = { pattern: { start: 1024, count: 4000, order: 1 }, seed: 1 }
  const upper: Written = { pattern: { start: 1024, count: 2000, stride: 2, order: 2 }, seed: 2 }
  const between: Written = { pattern: { start: 1025, count: 2000, stride: 2, order: 3 }, seed: 1 }
  {
    await using vm = await MicroVm.boot(context, { memoryMib })
    await vm.fill(lower)
    await vm.capture(context, 'base')
    await vm.resume()
    await vm.fill(upper)
    await vm.capture(context, 'child', { parent: 'base' })
  }
  const mapped = async () => {
    const { vm, report } = await MicroVm.restoreWithReport(context, 'child', 'mapped')
    await using _vm = vm
    await vm.resume()
    assert.equal(await vm.verify(upper, between), 4000)
    return report.mapping
  }
  const fromLayers = await mapped()
  assert.ok((fromLayers?.mappings ?? 0) >= 4000)
  await using _flat = await MicroVm.restore(context, 'child', 'file')
  const fromFlat = await mapped()
  assert.ok((fromFlat?.mappings ?? 0) <= 513, JSON.stringify(fromFlat))
  return { fromLayers, fromFlat }
}

/**
 * Six clones at once, by Firecracker alone (a flat memory file, loaded by hand), by the file engine and by
 * mapped layers: the same work must leave them with about the same memory of their own.
 */
async function mappedClones(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const { binary, runtimeDirectory, store } = context
  const count = 6
  const afterWork = async (machines: readonly (RunningMachine | PausedMachine)[]) => {
    try {
      const idle = machines.map(({ pid }) => memoryUse(pid))
      const all = await Promise.all(
        machines.map(async ({ pid, paths }) => {
          await using console = MicroConsole.attach(paths)
          assert.equal(await console.verify(still.pattern, still.seed), 900)
          await console.write(later.pattern, later.seed)
          // Zeros of the image, read and written.
          await console.read({ start: 4000, count: 500 })
          await console.write({ start: 5000, count: 100 }, 5)
          return memoryUse(pid)?.privateDirtyBytes ?? 0
        }),
      )
      return { idle: idle[0], privateBytes: all.sort((a, b) => a - b) }
    } finally {
      for (const machine of machines) await machine.stop()
    }
  }
  const byEngine = async (engine: EngineName) => {
    const clones = await cloneMachines(store, two, count, { binary, runtimeDirectory, engine })
    return afterWork(clones.map(({ machine }) => machine))
  }
  await using snapshot = await store.open(two)
  const memoryPath = context.path('vanilla.memory')
  await flatten(snapshot, memoryPath)
  const loaded: RunningMachine[] = []
  for (let clone = 0; clone < count; clone++) {
    const launched = await launchMachine({ binary, runtimeDirectory })
    const memory = { backend: 'File', path: memoryPath } as const
    loaded.push(await launched.loadAndResume({ statePath: snapshot.statePath, memory }))
  }
  const vanilla = await afterWork(loaded)
  const file = await byEngine('file')
  const mapped = await byEngine('mapped')
  for (const [engine, { privateBytes }] of Object.entries({ file, mapped })) {
    const beyond = (privateBytes.at(-1) ?? 0) - (vanilla.privateBytes[0] ?? 0)
    assert.ok(
      beyond <= 2 ** 20,
      `a clone by ${engine} has ${beyond} bytes more of its own than by Firecracker`,
    )
  }
  return { vanilla, file, mapped }
}

/** SIGKILL of the mapper at any time: before the load, while it follows the VMM, and while it maps. */
async function mapperDeath(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const outcomes: Record<string, number> = {}
  const delays = [0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 15]
  let message: string | undefined
  for (const [round, delayMs] of delays.entries()) {
    const outcome = await oneMapperDeath(context, two, round === 0 ? null : delayMs)
    message ??= outcome.message
    outcomes[outcome.what] = (outcomes[outcome.what] ?? 0) + 1
  }
  assert.ok((outcomes['killed with it'] ?? 0) >= 1)
  return { outcomes, message }
}

/** `delayMs`: after the moment right before the load; null: before it begins. */
async function oneMapperDeath(
  { binary, runtimeDirectory, store }: ScenarioContext,
  ref: string,
  delayMs: number | null,
): Promise<{ readonly what: 'killed with it' | 'too late'; readonly message?: string }> {
  let vmm: ProcessIdentity | undefined
  const restoring = restoreMachine(store, ref, {
    engine: 'mapped',
    binary,
    runtimeDirectory,
    beforeLoad: async (target) => {
      vmm = target.vmm
      const { tracer } = traces(vmm.pid)
      assert.notEqual(tracer, 0)
      const kill = () => process.kill(tracer, 'SIGKILL')
      if (delayMs === null) kill()
      else setTimeout(kill, delayMs)
    },
  })
  const restored = await restoring.then(
    (value) => value,
    (error: unknown) => error,
  )
  assert.ok(vmm)
  if (restored instanceof Error) {
    assert.ok(isVarveError(restored, 'INJECTION_FAILED'), restored.stack)
    assert.equal(isAlive(vmm), false)
    return { what: 'killed with it', message: restored.message }
  }
  const { machine } = restored as Awaited<typeof restoring>
  await using _machine = machine
  await using console = MicroConsole.attach(machine.paths)
  assert.equal(await console.verify(still.pattern, still.seed), 900)
  return { what: 'too late' }
}

export const mappedEngineScenarios: readonly Scenario[] = [
  {
    name: 'mapped-chain',
    claim:
      'a clone with mapped layers writes, is captured as a Diff and as a Full, and comes back by every engine',
    run: mappedChain,
  },
  {
    name: 'mapped-prefault',
    nativeIsEnough: true,
    claim: 'mapped with a working set, its pages are there before the guest runs, each as its class asks',
    run: mappedPrefault,
  },
  {
    name: 'mapped-scattered',
    nativeIsEnough: true,
    claim:
      'an image of 4,000 runs is mapped from its layers, and from a flat file where there is one: every page is right',
    run: mappedScattered,
  },
  {
    name: 'mapped-clones',
    nativeIsEnough: true,
    claim:
      'six clones at once, by a flat file or mapped layers, are right, and each has at most 1 MiB more of its own than by Firecracker alone',
    run: mappedClones,
  },
  {
    name: 'mapper-death',
    nativeIsEnough: true,
    claim: 'a mapper that dies takes the VM with it, or comes too late to matter: none runs half-mapped',
    run: mapperDeath,
  },
]
