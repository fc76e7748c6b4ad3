import { MicroConsole } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import {
  bootMachine,
  cloneMachines,
  type LiveCloneOptions,
  listMachines,
  openLocalStore,
  type RunningMachine,
} from 'varve'
import { expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { frozenOf, untilTrue } from '../support/frozen-processes.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const written: Written = { pattern: { start: 1024, count: 4000 }, seed: 1 }
const place = () => ({ ...world.launch, store: world.store })
const machines = () => listMachines(world.runtimeDirectory).map(({ record }) => record.id)

async function clonesAreRight(
  machine: RunningMachine,
  { pattern, seed }: Written = written,
  options: Partial<LiveCloneOptions> = {},
): Promise<void> {
  await using clones = await cloneMachines(machine, 2, { ...place(), ...options })
  for (const whenSealed of [false, true]) {
    if (whenSealed) await clones.sealed
    for (const clone of clones) {
      await using console = MicroConsole.attach(clone.machine.paths)
      // Other pages than before: a clone asks once for each.
      const half = { start: pattern.start + (whenSealed ? pattern.count / 2 : 0), count: pattern.count / 2 }
      expect(await console.verify(half, seed)).toBe(half.count)
    }
  }
  expect(clones.failed).toEqual([])
}

test('a machine that was booted without a log of written pages', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib: 64, trackDirtyPages: false })
  await vm.fill(written)
  await clonesAreRight(vm.machine as RunningMachine)
  await vm.verify(written)
})

test('a machine whose memory has two regions, in the second', async () => {
  const memoryMib = 4096
  const high: Written = { pattern: { start: memoryMib * 256 - 6000, count: 4000 }, seed: 1 }
  await using vm = await MicroVm.boot(place(), { memoryMib })
  await vm.fill(high)
  await clonesAreRight(vm.machine as RunningMachine, high)
})

const isRoot = process.geteuid?.() === 0
test.runIf(isRoot)('a machine in a jail, whose clones are in jails or not', async () => {
  const jailer = { uid: 23456, gid: 23456, chrootBaseDir: world.path('jails') }
  await using machine = await bootMachine(
    { kernel: world.kernel, memoryMib: 64, vcpus: 1 },
    { ...world.launch, jailer },
  )
  await using console = MicroConsole.attach(machine.paths)
  await console.fill(written.pattern, written.seed)
  await clonesAreRight(machine)
  await clonesAreRight(machine, written, { jailer })
})

test('the first clone is handed over before the others are made', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
  const seen: number[] = []
  const before: string[][] = []
  await using clones = await cloneMachines(vm.machine, 6, {
    ...{ ...place(), name: 'soon', parallel: 1 },
    onClone: (_, number) => {
      seen.push(number)
      before.push(machines().filter((id) => id.startsWith('soon-')))
    },
  })
  expect(seen).toEqual([1, 2, 3, 4, 5, 6])
  expect(before[0]).toEqual(['soon-1'])
  expect(clones.takenMs).toBeGreaterThan(clones.standstillMs ?? 0)
  await clones.sealed
})

test('VMMs that were started ahead are gone if the capture is refused, or aborted', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
  await vm.fill(written)
  const refused = cloneMachines(vm.machine, 4, { ...place(), tags: ['not a tag!'] })
  expect(await failure(refused)).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(machines()).toEqual([vm.machine.id])
  for (const afterMs of [1, 20, 60, 100, 150]) {
    const aborter = new AbortController()
    const aborted = cloneMachines(vm.machine, 4, { ...place(), signal: aborter.signal }).then(
      async (clones) => {
        const outcome = await failure(clones.sealed)
        await clones[Symbol.asyncDispose]()
        return outcome
      },
      (error: unknown) => error,
    )
    setTimeout(() => aborter.abort(), afterMs)
    expect(await aborted).toMatchObject({ code: 'INTERRUPTED' })
    expect(machines()).toEqual([vm.machine.id])
    await untilTrue(() => frozenOf(vm.machine).length === 0, 1000)
  }
  await vm.verify(written)
})

test('a name that is taken is found before the machine is paused', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
  const { snapshotsTaken } = vm.machine
  const each = () => ({ name: vm.machine.id })
  expect(await failure(cloneMachines(vm.machine, 1, { ...place(), each }))).toMatchObject({
    code: 'ALREADY_EXISTS',
  })
  const stop = {
    ...place(),
    each: (number: number) => (number === 2 ? each() : {}),
    onFailure: 'stop' as const,
  }
  expect(await failure(cloneMachines(vm.machine, 3, stop))).toMatchObject({ code: 'ALREADY_EXISTS' })
  expect([machines(), vm.machine.snapshotsTaken]).toEqual([[vm.machine.id], snapshotsTaken])
})

test('the process that held the memory of one call serves the next, also of another store', async () => {
  await using vm = await MicroVm.boot(place(), { memoryMib: 64 })
  await vm.fill(written)
  for (let call = 0; call < 2; call++) await clonesAreRight(vm.machine as RunningMachine)
  await untilTrue(() => frozenOf(vm.machine).length === 0, 1000)
  const store = await openLocalStore(world.path('other'), { create: true })
  await clonesAreRight(vm.machine as RunningMachine, written, { store })
})
