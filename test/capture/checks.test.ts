import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { buildMicroGuest, type MicroConsole, touchedPages } from '@varve/lab'
import { withTmpfs } from '@varve/scenarios'
import {
  bootMachine,
  captureSnapshot,
  openLocalStore,
  type PausedMachine,
  type SnapshotDescription,
  type SnapshotStore,
  takeSnapshot,
} from 'varve'
import { dataPages } from 'varve/layers'
import { minus, pageSetFromPages } from 'varve/working-sets'
import { describe, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const written = { start: 1000, count: 200, stride: 3, order: 5 }

/** A machine with a snapshot `base` that has written since. */
async function machineWithBase(): Promise<{ paused: PausedMachine; console: MicroConsole }> {
  const { machine, console } = await world.boot({
    memoryMib: 32,
  })
  const paused = await machine.pause()
  await captureSnapshot(paused, { store: world.store, tags: ['base'] })
  const running = await paused.resume()
  await console.write(written, 1)
  return { paused: await running.pause(), console }
}

async function expectNothingLost(paused: PausedMachine, tag: string): Promise<void> {
  const { layer } = await captureSnapshot(paused, { store: world.store, parent: 'base', tags: [tag] })
  expect(minus(pageSetFromPages(touchedPages(written)), dataPages(layer.index)).pages).toBe(0)
}

const stagedFiles = () => readdirSync(world.path('store/varve/staging'))

/** The store, whose snapshots look as `change` says. */
function storeWith(
  change: (description: SnapshotDescription) => Partial<SnapshotDescription>,
): SnapshotStore {
  return new Proxy(world.store, {
    get: (store, name) => {
      if (name === 'keep')
        return async (ref: string) => {
          const description = await store.keep(ref)
          return { ...description, ...change(description) }
        }
      const value: unknown = Reflect.get(store, name, store)
      return typeof value === 'function' ? value.bind(store) : value
    },
  })
}

describe('a capture that could not become a snapshot is refused before Firecracker writes', () => {
  const refusals: [string, object, object][] = [
    ['a tag that is none', { tags: ['good', 'no tag'] }, { code: 'INVALID_ARGUMENT' }],
    ['a tag that looks like an id', { tags: ['0'.repeat(32)] }, { code: 'INVALID_ARGUMENT' }],
    ['the name of a working set', { workingSet: '../x' }, { code: 'INVALID_ARGUMENT' }],
  ]
  test.each(refusals)('%s', async (_what, options, error) => {
    const { paused, console } = await machineWithBase()
    await using _machine = paused
    await using _console = console
    const { store } = world
    const taken = paused.snapshotsTaken
    await expect(captureSnapshot(paused, { store, parent: 'base', ...options })).rejects.toMatchObject(error)
    expect(paused.snapshotsTaken).toBe(taken)
    expect(stagedFiles()).toEqual([])
    await expectNothingLost(paused, 'next')
  })

  test('a chain that has all the layers it may have', async () => {
    const { paused, console } = await machineWithBase()
    await using _machine = paused
    await using _console = console
    const store = storeWith(({ layers }) => ({
      layers: Array.from({ length: 1024 }, () => layers[0] as never),
    }))
    await expect(captureSnapshot(paused, { store, parent: 'base' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('1024 layers'),
      remedy: expect.stringContaining('squash'),
    })
    expect(stagedFiles()).toEqual([])
    await expectNothingLost(paused, 'deep')
  })
})

describe('what was taken', () => {
  test('is not lost by tags that are refused: it can be sealed with others', async () => {
    const { paused, console } = await machineWithBase()
    await using _machine = paused
    await using _console = console
    await using taken = await takeSnapshot(paused, { store: world.store, parent: 'base', tags: ['first'] })
    await expect(taken.seal({ tags: ['no tag'] })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const { entry, layer } = await taken.seal({ tags: ['second', 'third', 'second'] })
    expect(entry.tags).toEqual(['second', 'third'])
    expect(minus(pageSetFromPages(touchedPages(written)), dataPages(layer.index)).pages).toBe(0)
    expect((await world.store.resolve('third')).id).toBe(entry.id)
  })

  test('has the tags of `takeSnapshot` where it is sealed without', async () => {
    const { paused, console } = await machineWithBase()
    await using _machine = paused
    await using _console = console
    await using taken = await takeSnapshot(paused, { store: world.store, parent: 'base', tags: ['ahead'] })
    expect((await taken.seal()).entry.tags).toEqual(['ahead'])
  })

  test('and not sealed costs the lineage: the next snapshot must be a base', async () => {
    const { paused, console } = await machineWithBase()
    await using _machine = paused
    await using _console = console
    const { store } = world
    await (await takeSnapshot(paused, { store, parent: 'base' }))[Symbol.asyncDispose]()
    await expect(captureSnapshot(paused, { store, parent: 'base' })).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
    })
    expect((await captureSnapshot(paused, { store })).type).toBe('Full')
  })
})

describe('no room', () => {
  const storeMib = 24
  const withSmallStore = async (work: (store: SnapshotStore, directory: string) => Promise<void>) => {
    const mount = world.path(`small-${process.hrtime.bigint()}`)
    mkdirSync(mount, { mode: 0o700 })
    await withTmpfs(mount, storeMib * 2 ** 20, async () =>
      work(await openLocalStore(`${mount}/store`, { create: true }), mount),
    )
  }

  test('for the memory is WRITE_FAILED, with the path and the remedy', async () => {
    await withSmallStore(async (store) => {
      await using booted = await world.boot({
        memoryMib: 64,
      })
      const { machine } = booted
      const paused = await machine.pause()
      await expect(captureSnapshot(paused, { store, base: 'Full' })).rejects.toMatchObject({
        code: 'WRITE_FAILED',
        message: expect.stringContaining('No space left on device'),
        remedy: expect.stringContaining('varve gc'),
        details: { errno: 'ENOSPC', path: expect.stringContaining('/memory') },
      })
      expect(paused.snapshotsTaken).toBe(0)
    })
  })

  test('for the disks behind the memory costs nothing: it is held while Firecracker writes', async () => {
    await withSmallStore(async (store) => {
      const kernel = world.kernel
      writeFileSync(kernel, buildMicroGuest())
      // Either fits alone, both do not.
      const path = world.path('data.img')
      writeFileSync(path, Buffer.alloc(14 * 2 ** 20, 7))
      await using machine = await bootMachine(
        { kernel, memoryMib: 16, vcpus: 1, disks: [{ id: 'data', path }] },
        world.launch,
      )
      const paused = await machine.pause()
      await expect(captureSnapshot(paused, { store, base: 'Full' })).rejects.toMatchObject({
        code: 'WRITE_FAILED',
        details: { errno: 'ENOSPC' },
      })
      expect(paused.snapshotsTaken, 'Firecracker kept its log').toBe(0)
      expect((await captureSnapshot(paused, { store, base: 'Diff', tags: ['diff'] })).type).toBe('Diff')
    })
  })
})
