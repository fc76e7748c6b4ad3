import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import {
  captureSnapshot,
  cloneMachines,
  flattenSnapshot,
  type RestoreOptions,
  type RunningMachine,
  restoreMachine,
} from 'varve'
import { dropPageCache } from 'varve/testing'
import type { WorkingSet } from 'varve/working-sets'
import { beforeAll, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const touched = { start: 2000, count: 1000, order: 3 }

const world = microWorldOfFile({ onDisk: true })
let workingSet: WorkingSet
let flat: string
let layers: readonly string[]

beforeAll(async () => {
  await using booted = await world.boot({ memoryMib: 64 })
  const { machine, console } = booted
  await console.write({ start: 1000, count: 8000 }, 1)
  await captureSnapshot(await machine.pause(), { store: world.store, tags: ['base'] })
  // Another layer: a base alone can be its own flat file.
  const running = (await restoreMachine(world.store, 'base', { ...world.launch, engine: 'mapped' })).machine
  await using _running = running
  await captureSnapshot(await running.pause(), { store: world.store, tags: ['one'], parent: 'base' })
  const recorded = await restoreMachine(world.store, 'one', {
    ...world.launch,
    engine: 'paged',
    record: { recorders: ['faults'] },
  })
  await using _recorded = recorded.machine
  await touch(recorded.machine)
  workingSet = (await recorded.recording?.stop())?.workingSet ?? expect.fail('no recording')
  await using snapshot = await world.store.open('one')
  flat = (await flattenSnapshot(snapshot)).path
  layers = snapshot.files.map(({ path }) => path)
})

async function touch(machine: Pick<RunningMachine, 'paths'>) {
  await using console = MicroConsole.attach(machine.paths)
  expect(await console.verify(touched, 1, { words: 1 })).toBe(touched.count)
}

function drop(...paths: readonly string[]): void {
  for (const path of paths) {
    const fd = openSync(path, 'r')
    dropPageCache(fd)
    closeSync(fd)
  }
}
function warm(...paths: readonly string[]): void {
  for (const path of paths) readFileSync(path)
}

async function auto(options: RestoreOptions = {}) {
  const { machine, report, prefetching } = await restoreMachine(world.store, 'one', {
    ...world.launch,
    engine: 'auto',
    ...options,
  })
  await using _machine = machine
  await touch(machine)
  return { engine: report.engine, reason: report.reason, brought: await prefetching }
}

test('the flat file where it is in the page cache, or nothing is', async () => {
  warm(flat, ...layers)
  expect(await auto()).toMatchObject({
    engine: 'file',
    // The kernel may take back a page at any time.
    reason: expect.stringMatching(/, (9\d|100) % of it in the page cache/),
  })
  drop(flat, ...layers)
  expect(await auto()).toMatchObject({
    engine: 'file',
    reason: expect.stringMatching(/, 0 % of it in the page cache/),
  })
})

test('the layers where these are in the page cache, and the flat file is not', async () => {
  warm(...layers)
  drop(flat)
  expect(await auto()).toMatchObject({
    engine: 'mapped',
    reason: expect.stringMatching(
      /^(9\d|100) % of the image are in the page cache of the layers, 0 % in that of the flat file/,
    ),
  })
})

test('a working set is brought where it is not there, and not where it is, but on request', async () => {
  drop(flat, ...layers)
  const cold = await auto({ workingSet })
  expect(cold).toMatchObject({ engine: 'mapped', reason: expect.stringContaining('must be read') })
  expect(cold.brought?.pages).toBeGreaterThanOrEqual(touched.count)
  warm(flat, ...layers)
  const cached = await auto({ workingSet })
  expect(cached).toMatchObject({
    engine: 'file',
    reason: expect.stringContaining('nothing is brought ahead'),
  })
  expect(cached.brought).toBeUndefined()
  expect((await auto({ workingSet, prefetch: 'before' })).brought).toMatchObject({ failure: null })
})

test('clones by auto have one engine, for one reason, and what they share is made before the first', async () => {
  rmSync(flat)
  drop(...layers)
  let thereBeforeTheFirst: boolean | undefined
  const clones = await cloneMachines(world.store, 'one', 3, {
    ...world.launch,
    engine: 'auto',
    parallel: 1,
    each: () => {
      thereBeforeTheFirst ??= existsSync(flat)
      return {}
    },
  })
  try {
    for (const { machine } of clones) await touch(machine)
    const [first] = clones.map(({ report }) => report)
    expect(first?.engine).toBe('file')
    expect(first?.reason).toMatch(/a flat file (takes a copy of \d+ MiB only|shares its blocks)/)
    // The second one would find the first one's flat file, and so have another reason.
    expect(clones.map(({ report }) => report.reason)).toEqual(Array(3).fill(first?.reason))
    expect(thereBeforeTheFirst).toBe(true)
  } finally {
    for (const { machine } of clones) await machine.stop()
  }
})
