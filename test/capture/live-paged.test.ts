import { existsSync, rmSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import { MicroVm, restoreMicroGuest, type Written } from '@varve/lab/testing'
import {
  captureSnapshot,
  cloneMachines,
  launchMachine,
  openLocalStore,
  type PausedMachine,
  type RunningMachine,
  residentBytes,
  takeSnapshot,
} from 'varve'
import { beforeEach, describe, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { untilTrue } from '../support/frozen-processes.js'
import { microWorldOfFile } from '../support/micro-world.js'
import { expectSameMemory } from '../support/same-memory.js'

/** Live bases of machines that a page server feeds, and that have not got all of their memory yet. */

const world = microWorldOfFile()
const memoryMib = 40
const mib = 2 ** 20
const inBase: Written = { pattern: { start: 2048, count: 4000 }, seed: 1 }
const inDiff: Written = { pattern: { start: 2500, count: 500, stride: 3 }, seed: 2 }
const since: Written = { pattern: { start: 2501, count: 400, stride: 2 }, seed: 3 }
const last: Written = { pattern: { start: 7000, count: 100 }, seed: 4 }

let round = 0
beforeEach(() => {
  round++
})

const place = () => ({ ...world.launch, store: world.store })

const made = new Set<string>()

/** A snapshot, of two layers if written pages are logged. */
async function source(trackDirtyPages = true): Promise<string> {
  const tag = `source-${trackDirtyPages}`
  if (!made.has(tag)) {
    await using vm = await MicroVm.boot(place(), { memoryMib, trackDirtyPages })
    await vm.fill(inBase)
    await captureSnapshot(vm.machine, { store: world.store, tags: [tag], mode: 'live' })
    if (trackDirtyPages) {
      await vm.fill(inDiff)
      await captureSnapshot(vm.machine, { store: world.store, tags: [tag], mode: 'live' })
    }
    made.add(tag)
  }
  return tag
}

/** Restored by `paged`; has written some pages since. */
async function restored(trackDirtyPages = true): Promise<MicroVm> {
  const vm = await MicroVm.restore(place(), await source(trackDirtyPages), 'paged')
  await vm.resume()
  await vm.fill(since)
  return vm
}

const isSame = (paused: PausedMachine, ref: string) => expectSameMemory(world, paused, ref)

const resident = ({ machine }: MicroVm) => residentBytes(machine.pid) ?? Number.NaN

async function writtenToFiles({ machine }: MicroVm): Promise<void> {
  const [statePath, memoryPath] = [world.path(`diff-${round}.state`), world.path(`diff-${round}`)]
  await machine.takeDiff({ statePath, memoryPath })
  for (const path of [statePath, memoryPath]) rmSync(path)
}

async function owedAndLost({ machine }: MicroVm): Promise<void> {
  await (await takeSnapshot(machine, { store: world.store, mode: 'live' }))[Symbol.asyncDispose]()
  rmSync(`${machine.paths.directory}/owed-pages`)
}

describe('a machine with pages that have not come yet', () => {
  test.each([
    ['was written to files by Firecracker', writtenToFiles, 'unknown'],
    ['owes pages that cannot be read', owedAndLost, 'owed'],
  ] as const)('and that %s has a live base with all of its memory', async (_, lose, reason) => {
    await using vm = await restored()
    await lose(vm)
    const before = resident(vm)
    expect(before).toBeLessThan(16 * mib)
    const paused = await vm.pause()
    const tags = [`base-${round}`]
    const captured = await captureSnapshot(paused, { store: world.store, mode: 'live', tags })
    expect([captured.lost?.reason, captured.type, captured.entry.parent]).toEqual([reason, 'Full', null])
    expect(captured.way).toMatchObject({ mode: 'live', frozen: { how: 'fork' } })
    // It was not made by bringing the pages.
    expect(resident(vm)).toBeLessThan(before + 4 * mib)
    await isSame(paused, `base-${round}`)
    await vm.resume()
    await vm.fill(last)
    const child = await captureSnapshot(vm.machine, { store: world.store, mode: 'live', tags: ['child'] })
    expect([child.lost, child.entry.parent]).toEqual([null, captured.entry.id])
    await using again = await MicroVm.restore(place(), 'child', 'file')
    await again.resume()
    await again.verify(since, last)
  })

  test('runs on while its base is taken, and auto takes it live', async () => {
    await using vm = await restored()
    await writtenToFiles(vm)
    const taken = await takeSnapshot(vm.machine, { store: world.store, tags: [`auto-${round}`] })
    expect(taken.way.mode).toBe('live')
    // Pages that come, and that are written, after the memory was taken are not in the snapshot.
    await vm.fill({ ...inBase, seed: 9 })
    await taken.seal()
    await using again = await MicroVm.restore(place(), `auto-${round}`, 'file')
    await again.resume()
    await again.verify(since)
    const untouched: Written = { ...inBase, pattern: { start: 4200, count: 1800 } }
    await again.verify(untouched)
  })

  test('or that has got all of them by now: its page server has left it', async () => {
    const engine = { engine: 'paged', graduate: true, resume: false } as const
    await using guest = await restoreMicroGuest(place(), await source(), engine)
    const { machine } = guest
    const graduated = `${machine.paths.directory}/page-server/graduated.json`
    await untilTrue(() => existsSync(graduated), 1000)
    const tags = [`graduated-${round}`]
    await captureSnapshot(machine, { store: world.store, mode: 'live', tags, base: true })
    await isSame(machine, `graduated-${round}`)
  })

  test('and without a log of written pages', async () => {
    await using vm = await restored(false)
    const paused = await vm.pause()
    const tags = [`untracked-${round}`]
    const captured = await captureSnapshot(paused, { store: world.store, mode: 'live', tags, base: true })
    expect([captured.way.mode, captured.entry.parent]).toEqual(['live', null])
    await isSame(paused, `untracked-${round}`)
  })

  test('is cloned while it runs, also if its snapshot is not in the store of its clones', async () => {
    await using vm = await restored()
    const store = await openLocalStore(world.path(`other-${round}`), { create: true })
    const untouched: Written = { ...inBase, pattern: { start: 5000, count: 1000 } }
    await using clones = await cloneMachines(vm.machine as RunningMachine, 2, { ...place(), store })
    for (const whenSealed of [false, true]) {
      if (whenSealed) expect((await clones.sealed).entry.parent).toBeNull()
      for (const { machine } of clones) {
        await using console = MicroConsole.attach(machine.paths)
        for (const { pattern, seed } of [since, untouched])
          expect(await console.verify(pattern, seed)).toBe(pattern.count)
      }
    }
    expect(clones.failed).toEqual([])
  })

  test('and with a balloon is refused, as its guest may have given pages back', async () => {
    const launched = await launchMachine(world.launch)
    await launched.api.putBalloon({ amount_mib: 0, deflate_on_oom: false })
    {
      await using machine = await launched.boot({ kernel: world.kernel, memoryMib: 64, vcpus: 1 })
      await captureSnapshot(machine, { store: world.store, tags: ['balloon'] })
    }
    await using guest = await restoreMicroGuest(place(), 'balloon', { engine: 'paged' })
    const { machine } = guest
    const { snapshotsTaken } = machine
    const asked = { store: world.store, base: true } as const
    const why = 'has a balloon'
    expect(await failure(captureSnapshot(machine, { ...asked, mode: 'live' }))).toMatchObject({
      code: 'HOST_UNSUPPORTED',
      message: expect.stringContaining(why),
    })
    expect([machine.snapshotsTaken, machine.owed]).toEqual([snapshotsTaken, null])
    const { way } = await captureSnapshot(machine, asked)
    expect(way).toMatchObject({ mode: 'stop', because: expect.stringContaining(why) })
    // All has come by now, but a page that is not there may be one that was given back.
    const { way: diff } = await captureSnapshot(machine, { store: world.store })
    expect(diff.mode).toBe('live')
  })
})
