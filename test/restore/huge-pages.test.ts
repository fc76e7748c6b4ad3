import { MicroConsole } from '@varve/lab'
import { MicroVm, restoreMicroGuest, type Written } from '@varve/lab/testing'
import {
  captureSnapshot,
  checkSnapshot,
  cloneMachines,
  listMachines,
  type PausedMachine,
  type RunningMachine,
  restoreMachine,
} from 'varve'
import { ensurePageServer } from 'varve/testing'
import { minus, pageSetFromPages, presentPages, union } from 'varve/working-sets'
import { expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { mappedHugePages, withHugePages } from '../support/huge-pages.js'
import { microWorldOfFile } from '../support/micro-world.js'
import { expectSameMemory } from '../support/same-memory.js'

/** Machines on huge pages of 2 MiB: captured by Firecracker, restored by a page server. */

const world = microWorldOfFile()
const memoryMib = 64
const frames = memoryMib / 2
const framePages = 512
const place = () => ({ ...world.launch, store: world.store })

/** A frame and a half in a row, and single pages far apart. */
const inBase: readonly Written[] = [
  { pattern: { start: 1024, count: 768 }, seed: 1 },
  { pattern: { start: 3000, count: 400, stride: 7 }, seed: 2 },
]
/** Pages within frames that the base has written, and in one that it has not. */
const inDiff: readonly Written[] = [
  { pattern: { start: 1800, count: 100, stride: 3 }, seed: 3 },
  { pattern: { start: 9000, count: 30 }, seed: 4 },
]
const all = [...inBase, ...inDiff]
const pagesOfAll = all.reduce((sum, { pattern }) => sum + pattern.count, 0)
const since: Written = { pattern: { start: 12_000, count: 700, stride: 2 }, seed: 5 }

const hugeTest = (name: string, pages: number, work: () => Promise<void>) =>
  test(name, async (context) => {
    if (!(await withHugePages(pages, work))) context.skip('the host gives no huge pages')
  })

/** Two layers under this tag. */
async function chain(tag: string, base: 'Full' | 'Diff' = 'Diff'): Promise<void> {
  await using vm = await MicroVm.boot(place(), { memoryMib, hugePages: true })
  expect(mappedHugePages(vm.machine.pid)).toBe(frames)
  await vm.fill(...inBase)
  const first = await vm.capture(place(), `${tag}-base`, { base })
  expect([first.type, first.way.mode]).toEqual([base, 'stop'])
  await vm.resume()
  await vm.fill(...inDiff)
  const second = await vm.capture(place(), tag)
  expect([second.type, second.entry.parent]).toEqual(['Diff', first.entry.id])
  await expectSameMemory(world, vm.machine as PausedMachine, tag)
}

/** All memory of a restored machine is that of its snapshot, but for what the next Diff says was written. */
async function expectRestored(machine: RunningMachine, tag: string): Promise<void> {
  await using console = MicroConsole.attach(machine.paths)
  for (const { pattern, seed } of all) expect(await console.verify(pattern, seed)).toBe(pattern.count)
  await console.fill(since.pattern, since.seed)
  const paused = await machine.pause()
  const { type, layer } = await captureSnapshot(paused, { store: world.store, tags: [`${tag}-next`] })
  expect(type).toBe('Diff')
  // The log of written pages tells single pages.
  expect(layer.index.pages).toBe(frames * framePages)
  await expectSameMemory(world, paused, `${tag}-next`)
}

for (const base of ['Full', 'Diff'] as const)
  hugeTest(`all memory comes back, over a base by ${base}`, frames, async () => {
    const tag = `by-${base}`
    await chain(tag, base)
    await using restored = await restoreMachine(world.store, tag, world.launch)
    expect(restored.report.engine).toBe('paged')
    expect(mappedHugePages(restored.machine.pid)).toBe(frames)
    await expectRestored(restored.machine, tag)
    expect((await restored.pageServer?.stats())?.copiedPages).toBe(frames * framePages)
  })

hugeTest('other engines refuse, and nothing is left of it; doctor says what is needed', frames, async () => {
  await chain('refused')
  for (const engine of ['file', 'mapped'] as const)
    expect(await failure(restoreMachine(world.store, 'refused', { ...world.launch, engine }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(`has huge pages, which the ${engine} engine cannot restore`),
      remedy: expect.stringContaining('paged or auto'),
    })
  expect(listMachines(world.runtimeDirectory)).toEqual([])
  const checks = await checkSnapshot({ store: world.store, ref: 'refused' })
  expect(checks.find(({ id }) => id === 'huge-pages')).toMatchObject({
    status: 'ok',
    says: expect.stringContaining('the paged engine restores it'),
  })
})

hugeTest('a recorded working set has whole frames, and is brought ahead', frames, async () => {
  await chain('set')
  const touched: Written = { pattern: { start: 1030, count: 10 }, seed: 1 }
  const written: Written = { pattern: { start: 9000, count: 10 }, seed: 9 }
  {
    await using guest = await restoreMicroGuest(place(), 'set', { record: { recorders: ['faults'] } })
    await guest.console.verify(touched.pattern, touched.seed)
    await guest.console.fill(written.pattern, written.seed)
    const { workingSet, recorded } = await (guest.recording as NonNullable<typeof guest.recording>).stop()
    expect(recorded).toMatchObject([
      { exact: { present: false }, notes: { faults: { unitPages: framePages } } },
    ])
    const present = presentPages(workingSet)
    const wholeFrames = [1024, 8704].flatMap((first) =>
      Array.from({ length: framePages }, (_, index) => first + index),
    )
    expect(minus(pageSetFromPages(wholeFrames), present).pages).toBe(0)
    expect(present.pages % framePages).toBe(0)
    expect(present.pages).toBeLessThan((frames * framePages) / 2)
    // Of a frame that was written, only pages that differ.
    const tenPages = pageSetFromPages(Array.from({ length: 10 }, (_, index) => 9000 + index))
    expect(minus(tenPages, workingSet.written).pages).toBe(0)
    expect(workingSet.written.pages).toBeLessThan(100)
    expect(union(workingSet.readOnly, workingSet.written).pages).toBe(present.pages)
    await world.store.saveWorkingSet('set', 'start', workingSet)
  }
  await using restored = await restoreMachine(world.store, 'set', {
    ...world.launch,
    workingSet: 'start',
    prefetch: 'before',
  })
  const report = await restored.prefetching
  expect(report).toMatchObject({ failure: null })
  expect((report?.pages ?? 0) % framePages).toBe(0)
  await expectRestored(restored.machine, 'set')
})

hugeTest('clones have memory of their own', 3 * frames, async () => {
  await chain('cloned')
  await using clones = await cloneMachines(world.store, 'cloned', 3, world.launch)
  for (const [index, { machine, report }] of clones.entries()) {
    expect(report.engine).toBe('paged')
    await using console = MicroConsole.attach(machine.paths)
    await console.fill(since.pattern, 100 + index)
  }
  for (const [index, { machine }] of clones.entries()) {
    await using console = MicroConsole.attach(machine.paths)
    expect(await console.verify(since.pattern, 100 + index)).toBe(since.pattern.count)
    let pages = 0
    for (const { pattern, seed } of all) pages += await console.verify(pattern, seed)
    expect(pages).toBe(pagesOfAll)
  }
})

hugeTest('a page server that is killed is replaced, and a VM that graduated needs none', frames, async () => {
  await chain('survives')
  {
    await using restored = await restoreMachine(world.store, 'survives', world.launch)
    const before = await restored.pageServer?.processes()
    process.kill(before?.server.pid as number, 'SIGKILL')
    await expectRestored(restored.machine, 'survives')
    expect((await restored.pageServer?.processes())?.server.pid).not.toBe(before?.server.pid)
  }
  await using restored = await restoreMachine(world.store, 'survives', { ...world.launch, graduate: true })
  expect(await restored.pageServer?.graduation({ wait: true })).toMatchObject({
    state: 'finished',
    failure: null,
  })
  const { server } = await ensurePageServer(world.runtimeDirectory)
  process.kill(server.pid, 'SIGKILL')
  await expectRestored(restored.machine, 'graduated')
})
