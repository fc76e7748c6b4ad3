import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MicroConsole } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import {
  bootMachine,
  captureSnapshot,
  cloneMachines,
  connectMachine,
  listMachines,
  openLocalStore,
  type PausedMachine,
  type Restored,
  type RunningMachine,
  stopMachine,
} from 'varve'
import { isAlive, pageServerRoot } from 'varve/testing'
import { expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { frozenOf, untilTrue } from '../support/frozen-processes.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const memoryMib = 64
const pattern: Written = { pattern: { start: 1024, count: 8000 }, seed: 1 }
const more: Written = { pattern: { start: 1024, count: 8000 }, seed: 2 }
const gone = 'the frozen memory that it was cloned from has gone'

const lookTries = 1000

const place = () => ({ ...world.launch, store: world.store })

async function source(written: Written = pattern): Promise<MicroVm> {
  const vm = await MicroVm.boot(place(), { memoryMib })
  await vm.fill(written)
  return vm
}

async function isRight(
  { machine }: Restored<RunningMachine | PausedMachine>,
  written = pattern,
): Promise<void> {
  await using console = MicroConsole.attach(machine.paths)
  expect(await console.verify(written.pattern, written.seed)).toBe(written.pattern.count)
}

const leases = () =>
  readdirSync(join(world.directory, 'store/varve/leases')).filter((it) => it.endsWith('.json'))

async function endedBecause(
  { machine }: Restored<RunningMachine | PausedMachine>,
  why: string,
): Promise<void> {
  const error = await machine.exitedError()
  expect([error.code, error.message]).toEqual(['PAGE_SERVER_DIED', expect.stringContaining(why)])
}

test('sixteen clones share one frozen process, and leave nothing behind', async () => {
  await using vm = await source()
  const before = leases().length
  {
    await using clones = await cloneMachines(vm.machine, 16, { ...place(), name: 'many', tags: ['sixteen'] })
    expect(clones.map(({ machine }) => machine.id)).toEqual(
      Array.from({ length: 16 }, (_, index) => `many-${index + 1}`),
    )
    expect(frozenOf(vm.machine).length).toBeLessThanOrEqual(1)
    // The source goes on, and writes over what the clones have not got yet.
    await vm.fill(more)
    const { entry, way } = await clones.sealed
    expect([clones.failed, way.frozen?.how, entry.tags]).toEqual([[], 'fork', ['sixteen']])
    await untilTrue(() => frozenOf(vm.machine).length === 0, lookTries)
    for (const clone of clones) await isRight(clone)
    for (const { machine } of clones) expect(machine.snapshotId).toBe(entry.id)
    // One of each clone, for memory and log alike, and one of the source.
    expect(leases().length).toBe(before + 17)
    await vm.verify(more)
  }
  expect(listMachines(world.runtimeDirectory).map(({ record }) => record.id)).toEqual([vm.machine.id])
  expect(leases().length).toBe(before + 1)
  await untilTrue(() => readdirSync(pageServerRoot(world.runtimeDirectory).vms).length === 0, lookTries)
  expect(readdirSync(join(world.directory, 'store/varve/staging'))).toEqual([])
  expect(readdirSync(vm.machine.paths.directory).filter((name) => name.startsWith('live-'))).toEqual([])
})

test('a clone is a machine like any: it is captured on the snapshot that it came from', async () => {
  await using vm = await source()
  await using clones = await cloneMachines(vm.machine, 1, { ...place(), tags: ['from'] })
  const { entry } = await clones.sealed
  const [clone] = clones
  const child = await captureSnapshot(clone?.machine as RunningMachine, {
    store: world.store,
    tags: ['child'],
  })
  expect([child.lost, child.entry.parent]).toEqual([null, entry.id])
  await using restored = await MicroVm.restore(place(), 'child', 'file')
  await restored.resume()
  await restored.verify(pattern)
  const again = await captureSnapshot(vm.machine, { store: world.store })
  expect([again.lost, again.entry.parent]).toEqual([null, entry.id])
})

test('when the page server is killed before the layer is there, and after it, its guard serves the clones', async () => {
  await using vm = await source()
  await using clones = await cloneMachines(vm.machine, 3, { ...place() })
  const [first, second, third] = clones
  for (const clone of [first, second]) {
    const { server } = (await clone?.pageServer?.processes()) ?? {}
    process.kill(server?.pid as number, 'SIGKILL')
    await isRight(clone as Restored<RunningMachine>)
    await clones.sealed
    await untilTrue(() => server !== undefined && !isAlive(server), lookTries)
  }
  await isRight(third as Restored<RunningMachine>)
  expect(clones.failed).toEqual([])
})

test('clones whose frozen memory is killed end with the reason, and the source owes its pages', async () => {
  await using vm = await source()
  await captureSnapshot(vm.machine, { store: world.store })
  await vm.fill(more)
  await using clones = await cloneMachines(vm.machine, 2, {
    ...place(),
    onProgress: (message) =>
      message === '2 of 2 ready' && process.kill(frozenOf(vm.machine)[0]?.pid as number, 'SIGKILL'),
  })
  for (const clone of clones) await endedBecause(clone, gone)
  expect(await failure(clones.sealed)).toMatchObject({ code: 'HOST_UNSUPPORTED' })
  const next = await captureSnapshot(vm.machine, { store: world.store, mode: 'live', tags: ['owed'] })
  expect(next.lost).toBeNull()
  await using restored = await MicroVm.restore(place(), 'owed', 'file')
  await restored.resume()
  await restored.verify(more)
})

const isRoot = process.geteuid?.() === 0
test.runIf(isRoot)(
  'if there is no room for the layer, clones end with the reason, and the source goes on',
  async () => {
    await using vm = await source()
    const mount = world.path('small')
    mkdirSync(mount)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,mode=0700', 'tmpfs', mount])
    try {
      const store = await openLocalStore(join(mount, 'store'), { create: true })
      await using clones = await cloneMachines(vm.machine, 2, { ...place(), store })
      expect(await failure(clones.sealed)).toMatchObject({ code: 'WRITE_FAILED' })
      for (const clone of clones) await endedBecause(clone, gone)
      expect(readdirSync(join(mount, 'store/varve/staging'))).toEqual([])
      expect(frozenOf(vm.machine)).toEqual([])
      await vm.verify(pattern)
    } finally {
      execFileSync('umount', [mount])
    }
  },
)

test('beyond mostCopiedBytes the frozen memory is given up, and the clones with it', async () => {
  await using vm = await source()
  let writing: Promise<void> | undefined
  // One after the other: that takes longer than a second, within which the limit is looked at.
  const cloning = cloneMachines(vm.machine, 64, {
    ...{ ...place(), parallel: 1, mostCopiedBytes: 2 ** 20 },
    onProgress: () => {
      writing ??= vm.fill(more)
    },
  })
  expect(await failure(cloning)).toMatchObject({
    code: 'HOST_UNSUPPORTED',
    message: expect.stringMatching(/takes \d+ bytes of its own, more than 1048576/),
  })
  await writing
  expect(listMachines(world.runtimeDirectory).map(({ record }) => record.id)).toEqual([vm.machine.id])
  await untilTrue(() => frozenOf(vm.machine).length === 0, lookTries)
  await vm.verify(more)
})

test('the clones of a process that is killed before the snapshot is sealed end with the reason', async () => {
  await using vm = await source()
  const program = fileURLToPath(new URL('../support/clones-live.mjs', import.meta.url))
  const args = [program, vm.machine.id, world.path('store'), world.runtimeDirectory, '2']
  const child = spawn(process.execPath, args, { stdio: 'inherit' })
  expect(await once(child, 'exit')).toEqual([null, 'SIGKILL'])
  await untilTrue(() => frozenOf(vm.machine).length === 0, lookTries)
  await untilTrue(
    () => listMachines(world.runtimeDirectory).every(({ record }) => !record.id.startsWith('orphan')),
    lookTries,
  )
  await vm.verify(pattern)
})

test('each result stands by itself: one that cannot be made does not end the others', async () => {
  await using vm = await source()
  await using taken = await bootMachine({ kernel: world.kernel, memoryMib: 32, vcpus: 1 }, world.launch)
  const each = (number: number) => (number === 2 ? { name: taken.id } : {})
  {
    await using clones = await cloneMachines(vm.machine, 3, { ...place(), name: 'own', each, tags: ['own'] })
    expect(clones.failed).toMatchObject([{ number: 2, error: { code: 'ALREADY_EXISTS' } }])
    expect(clones.map(({ machine }) => machine.id)).toEqual(['own-1', 'own-3'])
    await clones.sealed
    for (const clone of clones) await isRight(clone)
  }
  const frozenBefore = frozenOf(vm.machine)
  const stop = cloneMachines(vm.machine, 3, { ...place(), each, onFailure: 'stop' })
  expect(await failure(stop)).toMatchObject({ code: 'ALREADY_EXISTS' })
  await untilTrue(() => frozenOf(vm.machine).length === frozenBefore.length, lookTries)
  // Of a snapshot the same, the other way round.
  const ofSnapshot = { ...world.launch, each }
  expect(await failure(cloneMachines(world.store, 'own', 3, ofSnapshot))).toMatchObject({
    code: 'ALREADY_EXISTS',
  })
  await using kept = await cloneMachines(world.store, 'own', 3, { ...ofSnapshot, onFailure: 'keep' })
  expect(kept.failed.map(({ number }) => number)).toEqual([2])
  for (const clone of kept) await isRight(clone)
})

test('writable disks are as they were, and each clone has its own; read-only ones are the same file', async () => {
  const [data, fixed] = [world.path('data.img'), world.path('fixed.img')]
  writeFileSync(data, Buffer.alloc(2 ** 20, 1))
  writeFileSync(fixed, Buffer.alloc(2 ** 20, 2))
  const disks = [
    { id: 'data', path: data },
    { id: 'fixed', path: fixed, readOnly: true },
  ]
  await using machine = await bootMachine(
    { kernel: world.kernel, memoryMib: 32, vcpus: 1, disks },
    world.launch,
  )
  await using clones = await cloneMachines(machine, 2, place())
  writeFileSync(data, Buffer.alloc(2 ** 20, 3))
  await clones.sealed
  const files = await Promise.all(clones.map((clone) => clone.machine.disks()))
  const paths = files.map((all) => all.find(({ drive }) => drive === 'data')?.hostPath as string)
  expect(new Set([...paths, data]).size).toBe(3)
  for (const path of paths) expect(readFileSync(path).every((byte) => byte === 1)).toBe(true)
  const shared = files.map((all) => all.find(({ drive }) => drive === 'fixed')?.hostPath as string)
  expect(shared.map((path) => statSync(path).ino)).toEqual([statSync(fixed).ino, statSync(fixed).ino])
})

test('clones that were detached live on once the snapshot is sealed', async () => {
  await using vm = await source()
  const clones = await cloneMachines(vm.machine, 1, { ...place(), name: 'lasting' })
  await clones.sealed
  clones[0]?.machine.detach()
  const { runtimeDirectory } = world
  try {
    const found = await connectMachine('lasting-1', { runtimeDirectory })
    expect(found.state).toBe('running')
    await isRight({ machine: found as RunningMachine } as Restored<RunningMachine>)
  } finally {
    await stopMachine('lasting-1', { runtimeDirectory })
  }
})

test('a clone count of none, and a machine that cannot be captured live, are refused', async () => {
  await using vm = await source()
  expect(await failure(cloneMachines(vm.machine, 0, place()))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  const { api, snapshotsTaken } = vm.machine
  const { vmConfig } = api
  const slots = { total_size_mib: 1024, block_size_mib: 2, slot_size_mib: 128 }
  api.vmConfig = async (options) => ({ ...(await vmConfig(options)), 'memory-hotplug': slots })
  expect(await failure(cloneMachines(vm.machine, 1, place()))).toMatchObject({
    code: 'HOST_UNSUPPORTED',
    message: expect.stringContaining('memory for hot-plugging'),
  })
  expect(vm.machine.snapshotsTaken).toBe(snapshotsTaken)
})
