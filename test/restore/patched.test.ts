import { readFileSync } from 'node:fs'
import { MicroConsole, microGuestOwnPages } from '@varve/lab'
import { captureSnapshot, findFirecracker, listMachines, openLocalStore, restoreMachine } from 'varve'
import { compareImages } from 'varve/layers'
import { readStateFile } from 'varve/state-files'
import { minus, pageSetFromRuns, pagesOf } from 'varve/working-sets'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const old = process.env.FIRECRACKER_1_10
if (old === undefined)
  console.warn(
    '\n*** $FIRECRACKER_1_10 names no Firecracker 1.10: the patched engine is tested on files, not on a VMM ***\n',
  )

test('an experiment must be asked for, and is refused where regions have no offsets', async () => {
  const { binary, runtimeDirectory, store } = world
  {
    await using booted = await world.boot({ memoryMib: 16 })
    const { machine } = booted
    await captureSnapshot(await machine.pause(), { store, tags: ['small'] })
  }
  const options = { engine: 'patched', binary, runtimeDirectory } as const
  await expect(restoreMachine(store, 'small', options)).rejects.toMatchObject({ code: 'EXPERIMENTAL' })
  const asked = restoreMachine(store, 'small', { ...options, experimental: true })
  await expect(asked).rejects.toMatchObject({
    code: 'VERSION_UNSUPPORTED',
    message: expect.stringContaining('snapshot version 6.0.0'),
  })
  expect(listMachines(runtimeDirectory)).toEqual([])
})

test.runIf(old !== undefined)('Firecracker 1.10 runs on one file of three layers', async () => {
  const { runtimeDirectory } = world
  const binary = await findFirecracker({ env: { FIRECRACKER: old } })
  const store = await openLocalStore(world.path('store-1-10'), { create: true })
  const memoryMib = 64
  const base = { start: 1024, count: 8000, order: 3 }
  const upper = { start: 3000, count: 500, order: 5 }
  {
    await using booted = await world.boot({ memoryMib, binary })
    const { machine, console } = booted
    await console.fill(base, 1)
    await captureSnapshot(await machine.pause(), { store, tags: ['base'] })
  }
  const restore = async (ref: string) => {
    const options = { engine: 'patched', experimental: true, binary, runtimeDirectory } as const
    return restoreMachine(store, ref, options)
  }
  // A child of the base, and a child of that, each by a patched VM: its Diff and its own cuts are right.
  for (const [from, to, seed] of [
    ['base', 'one', 2],
    ['one', 'two', 3],
  ] as const) {
    const { machine } = await restore(from)
    await using _machine = machine
    await using console = MicroConsole.attach(machine.paths)
    await console.fill({ ...upper, start: upper.start + 600 * seed }, seed)
    await captureSnapshot(await machine.pause(), { store, tags: [to], parent: from })
  }
  await using snapshot = await store.open('two')
  for (const engine of ['patched', 'file', 'paged'] as const) {
    const options = { engine, experimental: true, binary, runtimeDirectory } as const
    const { machine, report } = await restoreMachine(store, 'two', options)
    await using _machine = machine
    await using console = MicroConsole.attach(machine.paths)
    for (const seed of [2, 3])
      expect(await console.verify({ ...upper, start: upper.start + 600 * seed }, seed)).toBe(500)
    expect(await console.verify({ start: 5500, count: 3500 }, 1)).toBe(3500)
    expect(report.pages.byOrigin.layers).toHaveLength(3)
    const memoryPath = world.path(`full-${engine}`)
    await (await machine.pause()).snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
    // The VMGenID, and what the guest itself writes while it answers.
    const named = pageSetFromRuns([{ start: 0xdf, count: 1 }, microGuestOwnPages(memoryMib * 2 ** 20)])
    expect([...pagesOf(minus(await compareImages(snapshot, memoryPath), named))]).toEqual([])
    const regions = readStateFile(readFileSync(`${memoryPath}.state`)).regions
    expect(regions.length).toBeLessThanOrEqual(256)
  }
})
