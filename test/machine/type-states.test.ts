import { inspect } from 'node:util'
import {
  bootMachine,
  type LaunchedMachine,
  launchMachine,
  type PausedMachine,
  type RunningMachine,
  VarveError,
} from 'varve'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

/** Never called. `tsc -b` checks this file: each line below must be an error, or the build fails. */
function illegalSteps(launched: LaunchedMachine, running: RunningMachine, paused: PausedMachine): unknown[] {
  const files = { statePath: 's', memoryPath: 'm' }
  return [
    // @ts-expect-error a launched machine has no guest to pause
    launched.pause(),
    // @ts-expect-error nor one to snapshot
    launched.snapshot({ type: 'Full', ...files }),
    // @ts-expect-error a running machine is not snapshotted
    running.snapshot({ type: 'Full', ...files }),
    // @ts-expect-error nor resumed
    running.resume(),
    // @ts-expect-error nor loaded into
    running.load({ statePath: 's', memory: { backend: 'File', path: 'm' } }),
    // @ts-expect-error a paused machine is not paused again
    paused.pause(),
    // @ts-expect-error nor booted
    paused.boot({ kernel: 'k', memoryMib: 1, vcpus: 1 }),
  ]
}
void illegalSteps

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'done',
    (error: unknown) => (error instanceof VarveError ? error.code : String(error)),
  )

test('a handle from an earlier state fails clearly, and the machine is unharmed', async () => {
  const launched = await launchMachine(world.launch)
  await using _machine = launched
  const running = await launched.boot({ kernel: world.kernel, memoryMib: 16, vcpus: 1 })
  expect(await code(launched.boot({ kernel: world.kernel, memoryMib: 16, vcpus: 1 }))).toBe('MACHINE_STATE')
  const paused = await running.pause()
  expect(await code(running.pause())).toBe('MACHINE_STATE')
  const again = await paused.resume()
  expect(
    await code(paused.snapshot({ type: 'Full', statePath: world.path('s'), memoryPath: world.path('m') })),
  ).toBe('MACHINE_STATE')
  expect(await code(paused.resume())).toBe('MACHINE_STATE')
  // Steps asked for at once run one after the other: the second finds the state changed.
  expect(await Promise.all([code(again.pause()), code(again.pause())])).toEqual(['done', 'MACHINE_STATE'])
  expect((await launched.info()).state).toBe('Paused')
})

test('console.log prints machines and snapshots as one line', async () => {
  const { captureSnapshot } = await import('varve')
  const { store } = world
  await using machine = await bootMachine(
    { kernel: world.kernel, memoryMib: 16, vcpus: 1, name: 'printed' },
    world.launch,
  )
  expect(inspect(machine)).toBe(`Machine printed (running, pid ${machine.pid}, Firecracker 1.12.1)`)
  const paused = await machine.pause()
  expect(inspect(paused)).toContain('Machine printed (paused, pid ')
  const captured = await captureSnapshot(paused, { store, tags: ['line'] })
  const id = captured.entry.id.slice(0, 12)
  expect(inspect(captured)).toBe(`CapturedSnapshot ${id} (line; Diff, a base)`)
  await using snapshot = await store.open('line')
  const line = `Snapshot ${id} (line; diff, a base; 4096 pages, layers: 1)`
  expect(inspect(snapshot)).toBe(line)
  expect(inspect(await store.describe('line'))).toBe(line)
  await paused.stop()
  expect(inspect(paused)).toContain('(paused, ended, pid ')
})

test('a Diff over a snapshot that the log does not count from is refused', async () => {
  const { captureSnapshot } = await import('varve')
  const { store } = world
  await using machine = await bootMachine({ kernel: world.kernel, memoryMib: 16, vcpus: 1 }, world.launch)
  let paused = await machine.pause()
  const a = await captureSnapshot(paused, { store, tags: ['a'] })
  expect(a).toMatchObject({ entry: { parent: null }, lost: null })
  paused = await (await paused.resume()).pause()
  // On the last one, unless told otherwise.
  const b = await captureSnapshot(paused, { store, tags: ['b'] })
  expect(b).toMatchObject({ type: 'Diff', entry: { parent: a.entry.id }, lost: null })
  expect(await code(captureSnapshot(paused, { store, parent: 'b', base: true }))).toBe('INVALID_ARGUMENT')
  paused = await (await paused.resume()).pause()
  // The log counts from b: a Diff over a would lack what b holds.
  expect(await code(captureSnapshot(paused, { store, parent: 'a' }))).toBe('IMAGE_MISMATCH')
  // A snapshot that was not sealed cleared the log; no known layer has the pages written before it.
  await paused.snapshot({
    type: 'Diff',
    statePath: world.path('lost.state'),
    memoryPath: world.path('lost.memory'),
  })
  expect(await code(captureSnapshot(paused, { store, parent: 'b' }))).toBe('IMAGE_MISMATCH')
  expect(await code(captureSnapshot(paused, { store, base: 'Diff' }))).toBe('IMAGE_MISMATCH')
  const anew = await captureSnapshot(paused, { store })
  expect(anew).toMatchObject({
    type: 'Full',
    entry: { parent: null },
    lost: { reason: 'unknown', snapshot: null, message: expect.stringContaining(machine.id) },
  })
  // Asked for, so that nothing was lost.
  const base = await captureSnapshot(paused, { store, base: true })
  expect(base).toMatchObject({ type: 'Full', entry: { parent: null }, lost: null })
})

test('a machine without a log of written pages says that its next snapshot is a base, and why', async () => {
  const { captureSnapshot } = await import('varve')
  const { store } = world
  const spec = { kernel: world.kernel, memoryMib: 16, vcpus: 1, trackDirtyPages: false }
  await using machine = await bootMachine(spec, world.launch)
  const paused = await machine.pause()
  const first = await captureSnapshot(paused, { store })
  expect(first).toMatchObject({ type: 'Full', lost: null })
  expect((await captureSnapshot(paused, { store })).lost).toMatchObject({
    reason: 'untracked',
    snapshot: first.entry.id,
  })
})

test('pages that a load wrote are not lost behind an unsealed snapshot', async () => {
  const { captureSnapshot, restoreMachine } = await import('varve')
  const { store } = world
  {
    await using machine = await bootMachine({ kernel: world.kernel, memoryMib: 16, vcpus: 1 }, world.launch)
    await captureSnapshot(await machine.pause(), { store, tags: ['load-base'] })
  }
  const { machine } = await restoreMachine(store, 'load-base', { ...world.launch, resume: false })
  await using _machine = machine
  await machine.snapshot({
    type: 'Diff',
    statePath: world.path('l.state'),
    memoryPath: world.path('l.memory'),
  })
  expect(await code(captureSnapshot(machine, { store, parent: 'load-base' }))).toBe('IMAGE_MISMATCH')
})
