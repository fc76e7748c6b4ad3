import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MicroVm, type Written } from '@varve/lab/testing'
import {
  captureSnapshot,
  frozenMemory,
  isVarveError,
  type PausedMachine,
  type RunningMachine,
  takeSnapshot,
} from 'varve'
import { beforeEach, describe, expect, test } from 'vitest'
import { frozenOf, processes, untilTrue } from '../support/frozen-processes.js'
import { microWorldOfFile } from '../support/micro-world.js'
import { expectSameMemory } from '../support/same-memory.js'

const world = microWorldOfFile()
const memoryMib = 64

const first: Written = { pattern: { start: 1024, count: 2000, stride: 2 }, seed: 1 }
const second: Written = { pattern: { start: 1025, count: 1000, stride: 2 }, seed: 2 }
const third: Written = { pattern: { start: 8000, count: 50 }, seed: 3 }

/** `VARVE_FREEZER_KILLS`: more, over the same moments. */
const kills = Number(process.env.VARVE_FREEZER_KILLS ?? 20)

const lookTries = 500

let round = 0
beforeEach(() => {
  round++
})

const place = () => ({ ...world.launch, store: world.store })

const isSame = (paused: PausedMachine, ref: string) => expectSameMemory(world, paused, ref)

const freezers = () =>
  processes().filter(
    ({ parent, command, state }) =>
      parent === process.pid && command.includes('freezer-main') && state !== 'Z',
  )

const mappingsOf = (pid: number) => readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n').length
const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length

async function hasEnded({ machine }: MicroVm): Promise<boolean> {
  return await Promise.race([machine.exited.then(() => true), sleep(100).then(() => false)])
}

async function nextIsRight(vm: MicroVm, name: string): Promise<void> {
  const paused = await vm.pause()
  await captureSnapshot(paused, { store: world.store, mode: 'live', tags: [`freezer-${name}`] })
  await isSame(paused, `freezer-${name}`)
  await vm.resume()
}

describe('a live capture', () => {
  test('of a running machine lets it go on, and leaves nothing behind in it or of it', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    await vm.fill(first)
    const machine = vm.machine as RunningMachine
    const before = [mappingsOf(machine.pid), descriptorsOf(machine.pid)]
    for (const freeze of ['copy', 'fork', 'fork'] as const) {
      const taken = await captureSnapshot(machine, {
        store: world.store,
        mode: 'live',
        freeze,
        tags: ['goes-on'],
      })
      expect(taken.way.frozen?.how).toBe(freeze)
      expect(taken.standstillMs).toBeGreaterThan(0)
      expect((await machine.info()).state).toBe('Running')
      await vm.fill(second)
    }
    expect([mappingsOf(machine.pid), descriptorsOf(machine.pid)]).toEqual(before)
    await untilTrue(() => freezers().length === 0, lookTries)
    await untilTrue(() => frozenOf(machine).length === 0, lookTries)
    expect(processes().filter(({ parent }) => parent === machine.pid)).toEqual([])
    await using restored = await MicroVm.restore(place(), 'goes-on', 'file')
    await restored.resume()
    await restored.verify(first, second)
  })

  test('has its memory before Firecracker, which has saved the state, goes on', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    const { api } = vm.machine
    const { createSnapshot } = api
    let thereWhenAnswered: number[] = []
    api.createSnapshot = async (body, options) => {
      await createSnapshot(body, options)
      thereWhenAnswered = frozenOf(vm.machine).map(({ pid }) => pid)
    }
    await vm.fill(first)
    await using _taken = await takeSnapshot(vm.machine, { store: world.store, mode: 'live', freeze: 'fork' })
    // Else a device could write between state and memory: all of them work in the thread that answers.
    // The twin, which only shares the memory of the VMM, may not have ended either at that moment.
    await untilTrue(() => frozenOf(vm.machine).length === 1, 100)
    expect(thereWhenAnswered).toContain(frozenOf(vm.machine)[0]?.pid)
  })

  test('of a machine whose pages have not come yet, from a page server, is right', async () => {
    const tag = `paged-${round}`
    {
      await using vm = await MicroVm.boot(place(), { memoryMib })
      await vm.fill(first)
      await captureSnapshot(vm.machine, { store: world.store, tags: [tag] })
    }
    await using vm = await MicroVm.restore(place(), tag, 'paged')
    const paused = await vm.pause()
    await captureSnapshot(paused, { store: world.store, mode: 'live', tags: [`${tag}-again`] })
    await isSame(paused, `${tag}-again`)
  })

  test('that is dropped owes its pages to the next one, also if another one is dropped in between', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    const { store } = world
    const base = await captureSnapshot(vm.machine, { store, mode: 'live', tags: [`drop-${round}`] })
    await vm.fill(first)
    await (await takeSnapshot(vm.machine, { store, mode: 'live', freeze: 'fork' }))[Symbol.asyncDispose]()
    await vm.fill(second)
    await (await takeSnapshot(vm.machine, { store, mode: 'live', freeze: 'copy' }))[Symbol.asyncDispose]()
    await vm.fill(third)
    const paused = await vm.pause()
    const next = await captureSnapshot(paused, { store, mode: 'live', tags: [`next-${round}`] })
    expect([next.lost, next.entry.parent]).toEqual([null, base.entry.id])
    expect(next.way.frozen?.pages).toBeGreaterThanOrEqual(3050)
    await isSame(paused, `next-${round}`)
  })

  test('that is dropped before there is any snapshot owes its pages to a base', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    await vm.fill(first)
    await (await takeSnapshot(vm.machine, { store: world.store, mode: 'live' }))[Symbol.asyncDispose]()
    const paused = await vm.pause()
    const next = await captureSnapshot(paused, { store: world.store, mode: 'live', tags: [`base-${round}`] })
    expect([next.lost, next.entry.parent, next.type]).toEqual([null, null, 'Diff'])
    await isSame(paused, `base-${round}`)
  })

  test('that is dropped makes one by Firecracker a base, which says why', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    const { store } = world
    await captureSnapshot(vm.machine, { store, mode: 'live' })
    await vm.fill(first)
    await (await takeSnapshot(vm.machine, { store, mode: 'live' }))[Symbol.asyncDispose]()
    const paused = await vm.pause()
    const next = await captureSnapshot(paused, { store, mode: 'stop', tags: [`stop-${round}`] })
    expect(next.lost).toMatchObject({ reason: 'owed' })
    expect([next.entry.parent, next.type]).toEqual([null, 'Full'])
    await isSame(paused, `stop-${round}`)
    const child = await captureSnapshot(paused, { store, mode: 'live' })
    expect([child.lost, child.entry.parent]).toEqual([null, next.entry.id])
  })

  test('whose frozen memory is killed fails, and owes its pages', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    const { store } = world
    await captureSnapshot(vm.machine, { store, mode: 'live' })
    await vm.fill(first)
    const taken = await takeSnapshot(vm.machine, { store, mode: 'live', freeze: 'fork' })
    const [frozen, ...more] = frozenOf(vm.machine)
    expect(more).toEqual([])
    expect(readdirSync(`/proc/${frozen?.pid}/fd`)).toEqual([])
    expect(frozenMemory(vm.machine)).toEqual([{ pid: frozen?.pid, copiedBytes: expect.any(Number) }])
    await vm.fill(first)
    // 2,000 pages of 4 KiB were copied for the guest.
    expect(frozenMemory(vm.machine)[0]?.copiedBytes).toBeGreaterThanOrEqual(2000 * 4096)
    process.kill(frozen?.pid as number, 'SIGKILL')
    await expect(taken.seal()).rejects.toMatchObject({ code: 'HOST_UNSUPPORTED' })
    expect(frozenMemory(vm.machine)).toEqual([])
    const paused = await vm.pause()
    const next = await captureSnapshot(paused, { store, mode: 'live', tags: [`killed-${round}`] })
    expect(next.lost).toBeNull()
    await isSame(paused, `killed-${round}`)
  })

  test('whose frozen memory is killed while it is written fails, and owes its pages', async () => {
    const many: Written = { pattern: { start: 1024, count: 20_000 }, seed: 4 }
    await using vm = await MicroVm.boot(place(), { memoryMib: 96 })
    const { store } = world
    const base = await captureSnapshot(vm.machine, { store, mode: 'live' })
    await vm.fill(many)
    const taken = await takeSnapshot(vm.machine, { store, mode: 'live', freeze: 'fork' })
    const [frozen] = frozenOf(vm.machine)
    const seen: number[] = []
    const onProgress = (message: string) => {
      const [pages] = /^\d+(?= pages copied$)/.exec(message) ?? []
      if (pages === undefined) return
      if (seen.length === 0) process.kill(frozen?.pid as number, 'SIGKILL')
      seen.push(Number(pages))
    }
    await expect(taken.seal({ onProgress })).rejects.toMatchObject({
      code: 'HOST_UNSUPPORTED',
      message: expect.stringContaining(`the frozen memory was killed (process ${frozen?.pid})`),
    })
    expect(seen[0]).toBeGreaterThan(0)
    expect(Math.max(...seen)).toBeLessThan(many.pattern.count)
    const paused = await vm.pause()
    const next = await captureSnapshot(paused, { store, mode: 'live', tags: [`writing-${round}`] })
    expect([next.lost, next.entry.parent]).toEqual([null, base.entry.id])
    expect(next.way.frozen?.pages).toBeGreaterThanOrEqual(many.pattern.count)
    await isSame(paused, `writing-${round}`)
  })

  test('whose freezer is killed at any moment leaves the guest running, or ends it with the reason', async () => {
    const { store } = world
    const outcomes = new Map<string, number>()
    let vm = await MicroVm.boot(place(), { memoryMib })
    try {
      await captureSnapshot(vm.machine, { store, mode: 'live' })
      // How long a freezer lives if it is left alone.
      const start = performance.now()
      await captureSnapshot(vm.machine, { store, mode: 'live', freeze: 'fork' })
      const lifeMs = performance.now() - start
      for (let kill = 0; kill < kills; kill++) {
        await vm.fill(kill % 2 === 0 ? first : second)
        const freeze = kill % 3 === 0 ? 'copy' : 'fork'
        const capture = captureSnapshot(vm.machine, { store, mode: 'live', freeze }).then(
          ({ lost }) => (lost === null ? 'taken' : 'taken, a base'),
          (error: unknown) => error,
        )
        while (freezers().length === 0) await sleep(1)
        await sleep((lifeMs * (kill + 0.5)) / kills)
        for (const { pid } of freezers()) process.kill(pid, 'SIGKILL')
        const outcome = await capture
        const ended = await hasEnded(vm)
        const code = isVarveError(outcome) ? outcome.code : `${outcome}`
        const what = ended ? `${code}, VM ended` : code
        outcomes.set(what, (outcomes.get(what) ?? 0) + 1)
        if (ended) {
          expect(outcome).toMatchObject({
            code: 'INJECTION_FAILED',
            message: expect.stringContaining('the VM with it'),
          })
          vm = await MicroVm.boot(place(), { memoryMib })
        } else if (kill % 5 === 0) await nextIsRight(vm, `${round}-${kill}`)
      }
      await nextIsRight(vm, `${round}`)
      await untilTrue(() => frozenOf(vm.machine).length === 0, lookTries)
    } finally {
      await vm[Symbol.asyncDispose]()
    }
    const known = [
      'taken',
      'taken, a base',
      'INJECTION_FAILED',
      'HOST_UNSUPPORTED',
      'INJECTION_FAILED, VM ended',
    ]
    console.log(Object.fromEntries(outcomes))
    expect([...outcomes.keys()].filter((it) => !known.includes(it))).toEqual([])
  })

  test('that is aborted while it is sealed owes its pages', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    const { store } = world
    await captureSnapshot(vm.machine, { store, mode: 'live' })
    await vm.fill(first)
    const taken = await takeSnapshot(vm.machine, { store, mode: 'live', freeze: 'fork' })
    await expect(taken.seal({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'INTERRUPTED' })
    const paused = await vm.pause()
    await captureSnapshot(paused, { store, mode: 'live', tags: [`aborted-${round}`] })
    await isSame(paused, `aborted-${round}`)
  })
})
