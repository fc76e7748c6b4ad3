import { readdirSync } from 'node:fs'
import { MicroConsole, microGuestOwnPages, touchedPages } from '@varve/lab'
import { captureSnapshot, connectMachine, launchMachine, recordMachine, restoreMachine } from 'varve'
import {
  minus,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesOf,
  presentPages,
  readWorkingSet,
  union,
  type WorkingSet,
} from 'varve/working-sets'
import { beforeAll, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const memoryMib = 32

const world = microWorldOfFile({ onDisk: true })
beforeAll(async () => {
  await using booted = await world.boot({ memoryMib })
  const { machine, console } = booted
  await console.write({ start: 1000, count: 4000 }, 1)
  const paused = await machine.pause()
  await captureSnapshot(paused, { store: world.store, tags: ['base'] })
  const running = await paused.resume()
  await console.write({ start: 2000, count: 500 }, 2)
  await captureSnapshot(await running.pause(), { store: world.store, tags: ['one'], parent: 'base' })
})

const list = (set: PageSet): number[] => [...pagesOf(set)]
const patternPages = (...patterns: Parameters<typeof touchedPages>) =>
  pageSetFromPages(patterns.flatMap((pattern) => touchedPages(pattern)))

const reads = { start: 1500, count: 40, stride: 70, order: 5 }
const writes = { start: 1535, count: 30, stride: 70, order: 6 }
/** Firecracker's VMGenID (and VMClock), and what the guest's own code touches. */
const own = union(
  pageSetFromRuns([microGuestOwnPages(memoryMib * 2 ** 20)]),
  pageSetFromPages([0, 9, 10, 11, 222, 223]),
)

function expectSet(workingSet: WorkingSet): void {
  expect(list(minus(workingSet.written, own))).toEqual(list(patternPages(writes)))
  const touched = union(patternPages(reads), patternPages(writes))
  expect(list(minus(touched, presentPages(workingSet)))).toEqual([])
}

test('from before the load, with two recorders, kept beside the snapshot and read again', async () => {
  const { machine, recording } = await restoreMachine(world.store, 'one', {
    ...world.launch,
    record: { recorders: ['mincore', 'diff'], notes: { what: 'a test' } },
  })
  await using _machine = machine
  await using _recording = recording
  await using console = MicroConsole.attach(machine.paths)
  await console.read(reads)
  await recording?.scan()
  await console.write(writes, 3)
  const { workingSet, recorded } = (await recording?.stop()) ?? expect.fail('no recording')
  expectSet(workingSet)
  expect(recorded.map(({ recorder }) => recorder)).toEqual(['mincore', 'diff'])
  expect(workingSet.notes).toMatchObject({
    what: 'a test',
    recorders: { present: 'mincore', written: 'diff' },
    exact: { present: false, written: true },
  })
  expect(list(minus(patternPages(reads), workingSet.groups[0]?.set as PageSet))).toEqual([])
  // The guest runs on, under the same handle.
  await console.ping()
  await (await machine.pause()).resume()

  await world.store.saveWorkingSet('one', 'kept', workingSet)
  await using snapshot = await world.store.open('one')
  const path = snapshot.workingSetFiles.find(({ name }) => name === 'kept')?.path as string
  expectSet(await readWorkingSet(path))
})

test.each(['paused still', 'running already', 'found again by its name'] as const)(
  'of a machine that is restored, %s',
  async (how) => {
    const paused = how === 'paused still'
    const restored = await restoreMachine(world.store, 'one', { ...world.launch, resume: !paused })
    await using machine = restored.machine
    const handle =
      how === 'found again by its name'
        ? await connectMachine(machine.id, { runtimeDirectory: world.runtimeDirectory })
        : machine
    if (handle.state === 'launched') throw new Error('not restored')
    await using recording = await recordMachine(handle, world.store, { recorders: ['pagemap', 'diff'] })
    if (machine.state === 'paused') await machine.resume()
    await using console = MicroConsole.attach(machine.paths)
    await console.read(reads)
    await console.write(writes, 3)
    const { workingSet, recorded } = await recording.stop()
    expectSet(workingSet)
    expect(recorded.map(({ recorder }) => recorder)).toEqual(['pagemap', 'diff'])
    expect(workingSet.image).toBe((await world.store.resolve('one')).id)
    expect((await machine.info()).state).toBe('Running')
  },
)

test('a machine that came from nowhere, or was snapshotted since, has no image to record', async () => {
  const unreliable = { code: 'RECORDER_UNRELIABLE' }
  const options = { recorders: ['pagemap'] } as const
  const booted = await world.boot({ memoryMib })
  await using _console = booted.console
  await using _booted = booted.machine
  await expect(recordMachine(booted.machine, world.store, options)).rejects.toMatchObject(unreliable)
  const { machine } = await restoreMachine(world.store, 'one', { ...world.launch, resume: false })
  await using _machine = machine
  await captureSnapshot(machine, { store: world.store, parent: 'one' })
  await expect(recordMachine(machine, world.store, options)).rejects.toMatchObject(unreliable)
})

test('a machine with mapped layers is not recorded by its page tables, before its load or after', async () => {
  const mapped = { ...world.launch, engine: 'mapped' } as const
  const options = { recorders: ['pagemap'] } as const
  const unreliable = { code: 'RECORDER_UNRELIABLE', message: expect.stringContaining('comes from layers') }
  await expect(restoreMachine(world.store, 'one', { ...mapped, record: options })).rejects.toMatchObject(
    unreliable,
  )
  const { machine } = await restoreMachine(world.store, 'one', mapped)
  await using _machine = machine
  await expect(recordMachine(machine, world.store, options)).rejects.toMatchObject(unreliable)
  // What sees layers, and what was written, sees it here too.
  await using recording = await recordMachine(machine, world.store, { recorders: ['mincore', 'diff'] })
  await using console = MicroConsole.attach(machine.paths)
  await console.write(writes, 3)
  const { workingSet } = await recording.stop()
  expect(minus(pageSetFromPages(touchedPages(writes)), workingSet.written).pages).toBe(0)
})

test('a snapshot taken meanwhile, or no log of writes, is found out by the diff recorder at its end', async () => {
  const { machine, recording } = await restoreMachine(world.store, 'one', {
    ...world.launch,
    resume: false,
    record: { recorders: ['pagemap', 'diff'] },
  })
  await using _machine = machine
  await captureSnapshot(machine, { store: world.store, parent: 'one' })
  await expect(recording?.stop()).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })

  const untracked = await restoreMachine(world.store, 'one', {
    ...world.launch,
    trackDirtyPages: false,
    record: { recorders: ['pagemap', 'diff'] },
  })
  await using _untracked = untracked.machine
  await expect(untracked.recording?.stop()).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
})

test('a restore that fails ends the recording too', async () => {
  const open = () => readdirSync('/proc/self/fd').length
  const before = open()
  const failing = restoreMachine(world.store, 'one', {
    ...world.launch,
    networkOverrides: { eth9: 'no-such-tap' },
    record: { recorders: ['mincore', 'diff'] },
  })
  await expect(failing).rejects.toThrow()
  expect(open()).toBe(before)
})

test('takeDiff leaves a machine as it is, on any handle, and is refused before there is a guest', async () => {
  const launched = await launchMachine(world.launch)
  await using _launched = launched
  const files = (name: string) => ({ statePath: world.path(`${name}.state`), memoryPath: world.path(name) })
  await expect(launched.takeDiff(files('none'))).rejects.toMatchObject({ code: 'MACHINE_STATE' })
  const { machine } = await restoreMachine(world.store, 'one', { ...world.launch, resume: false })
  await using _machine = machine
  await machine.takeDiff(files('paused'))
  expect((await machine.info()).state).toBe('Paused')
  const running = await machine.resume()
  // The handle of before.
  await machine.takeDiff(files('running'))
  expect((await running.info()).state).toBe('Running')
  expect(running.snapshotsTaken).toBe(2)
  // Memory has changed since that Diff.
  expect(running.snapshotId).toBeNull()
  await running.pause()
})
