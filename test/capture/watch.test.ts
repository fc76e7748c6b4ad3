import { setTimeout as sleep } from 'node:timers/promises'
import { MicroVm } from '@varve/lab/testing'
import {
  captureSnapshot,
  isVarveError,
  type SnapshotStore,
  VarveError,
  type WatchTurn,
  watchMachine,
} from 'varve'
import { describe, expect, test } from 'vitest'
import { varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const place = () => ({ ...world.launch, store: world.store })

/** The world's store, with some methods of its own. */
function storeWith(own: Partial<SnapshotStore>): SnapshotStore {
  return new Proxy(world.store, {
    get: (store, name) => {
      const value: unknown = Reflect.get(own, name) ?? Reflect.get(store, name)
      return typeof value === 'function' ? value.bind(store) : value
    },
  })
}

/** A stretch of its own for each turn. */
const written = (turn: number) => ({ pattern: { start: 1024 + 20 * turn, count: 20 }, seed: turn })

async function watched(
  vm: MicroVm,
  turns: number,
  options: Partial<Parameters<typeof watchMachine>[1]> = {},
): Promise<WatchTurn[]> {
  const seen: WatchTurn[] = []
  for await (const turn of watchMachine(vm.machine, {
    store: world.store,
    everyMs: 200,
    keep: 3,
    ...options,
  })) {
    seen.push(turn)
    if (seen.length === turns) break
    await vm.fill(written(seen.length))
  }
  return seen
}

describe('a watch', () => {
  test('keeps the last snapshots, each right, and squashes what is older', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
    const seen = await watched(vm, 10)
    expect(seen.map(({ error, captured }) => [error, captured?.lost])).toEqual(seen.map(() => [null, null]))
    const kept = await world.store.list({ labels: { watch: vm.machine.id } })
    const last = seen.slice(-3).map(({ captured }) => captured?.entry.id)
    expect(kept.filter(({ tags }) => tags.length > 0).map(({ id }) => id)).toEqual(last)
    for (const [index, id] of last.entries()) {
      // Two times the number of snapshots that are kept, at most.
      expect((await world.store.describe(id as string)).layers.length).toBeLessThanOrEqual(6)
      await using restored = await MicroVm.restore(place(), id as string, 'file')
      await restored.resume()
      for (let turn = 1; turn < 8 + index; turn++) await restored.verify(written(turn))
    }
    const { findings } = await world.store.fsck()
    expect(findings.filter(({ severity }) => severity !== 'garbage')).toEqual([])
    // Begun again, it goes on with what is there.
    const again = await watched(vm, 1)
    expect(again[0]?.captured?.entry.parent).toBe(last[2])
    expect(again[0]?.removed.map(({ id }) => id)).toEqual([last[0]])
  })

  test('says how many captures it left out when one took too long', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
    const slow = storeWith({
      list: async (options) => {
        await sleep(700)
        return world.store.list(options)
      },
    })
    const [turn] = await watched(vm, 1, { store: slow })
    expect(turn?.missed).toBeGreaterThanOrEqual(3)
    expect(turn?.turnMs).toBeGreaterThanOrEqual(700)
  })

  test('tells of a capture that failed, and tries again', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
    let fails = true
    const store = storeWith({
      commit: async (draft, options) => {
        if (fails) throw new VarveError('WRITE_FAILED', 'no room')
        return world.store.commit(draft, options)
      },
    })
    const seen: WatchTurn[] = []
    for await (const turn of watchMachine(vm.machine, { store, everyMs: 200 })) {
      seen.push(turn)
      fails = false
      if (seen.length === 2) break
    }
    expect(seen.map(({ error, captured }) => [error?.code, captured === null])).toEqual([
      ['WRITE_FAILED', true],
      [undefined, false],
    ])
  })

  test('ends without an error when it is aborted, and with one when the machine has ended', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
    const aborter = new AbortController()
    setTimeout(() => aborter.abort(), 500)
    for await (const _ of watchMachine(vm.machine, {
      store: world.store,
      everyMs: 60_000,
      signal: aborter.signal,
    }));
    await captureSnapshot(vm.machine, { store: world.store })
    await vm.machine.stop()
    const ended = watched(vm, 1).catch((error: unknown) => error)
    expect(isVarveError(await ended, 'MACHINE_EXITED')).toBe(true)
  })

  test('is a verb, too', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
    const { id } = vm.machine
    const args = ['snapshot', 'watch', id, '--every', '300ms', '--count', '2', '--keep', '2']
    const { status, stdout } = await varve(world, ...args, '--json')
    expect(status).toBe(0)
    const lines = stdout
      .trim()
      .split('\n')
      .map((line: string) => JSON.parse(line) as { id: string; error: null })
    expect(lines).toHaveLength(2)
    expect(new Set(lines.map((line) => line.id)).size).toBe(2)
    expect(lines.map((line) => line.error)).toEqual([null, null])
  })
})
