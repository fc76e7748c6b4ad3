import { MicroVm, type Written } from '@varve/lab/testing'
import { captureSnapshot } from 'varve'
import { dataPages } from 'varve/layers'
import { expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { processes } from '../support/frozen-processes.js'
import { mappedHugePages, withHugePages } from '../support/huge-pages.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** Machines that cannot be captured live: refused before anything of them is touched. */

const world = microWorldOfFile()
const memoryMib = 64
const written: Written = { pattern: { start: 2048, count: 600, stride: 2 }, seed: 1 }
const place = () => ({ ...world.launch, store: world.store })

type Machine = MicroVm['machine']

const freezers = () =>
  processes().filter(({ parent, command }) => parent === process.pid && command.includes('freezer-main'))

/** What a capture changes. */
const touched = async (machine: Machine) => ({
  state: (await machine.info()).state,
  snapshotsTaken: machine.snapshotsTaken,
  snapshotId: machine.snapshotId,
  owed: machine.owed,
  freezers: freezers().length,
})

test('memory for hot-plugging: live refuses, auto has Firecracker write the memory, and says why', async () => {
  const { store } = world
  await using vm = await MicroVm.boot(place(), { memoryMib })
  const { machine } = vm
  const base = await captureSnapshot(machine, { store, mode: 'stop' })
  await vm.fill(written)
  const { api } = machine
  const { vmConfig } = api
  const slots = { total_size_mib: 1024, block_size_mib: 2, slot_size_mib: 128 }
  api.vmConfig = async (options) => ({ ...(await vmConfig(options)), 'memory-hotplug': slots })
  const before = await touched(machine)
  expect(before).toMatchObject({ state: 'Running', owed: null, freezers: 0 })
  expect(await failure(captureSnapshot(machine, { store, mode: 'live' }))).toMatchObject({
    code: 'HOST_UNSUPPORTED',
    message: `no live capture: ${machine.id} has memory for hot-plugging`,
    remedy: 'use mode auto or stop',
  })
  expect(await touched(machine)).toEqual(before)
  await vm.verify(written)
  const { way, lost, entry, layer } = await captureSnapshot(machine, { store })
  expect(way).toEqual({
    mode: 'stop',
    because: `${machine.id} has memory for hot-plugging`,
    frozen: null,
  })
  expect([lost, entry.parent]).toEqual([null, base.entry.id])
  expect(dataPages(layer.index).pages).toBeGreaterThanOrEqual(written.pattern.count)
  expect((await machine.info()).state).toBe('Running')
  await vm.verify(written)
})

test('huge pages: live refuses, auto has Firecracker write the memory, and says why', async (context) => {
  const { store } = world
  const ran = await withHugePages(memoryMib / 2, async () => {
    await using guest = await world.boot({ memoryMib, hugePages: true })
    const { machine, console } = guest
    expect(mappedHugePages(machine.pid)).toBe(memoryMib / 2)
    await console.fill(written.pattern, written.seed)
    const before = await touched(machine)
    const because = `${machine.id} has huge pages: while its memory stands frozen each write takes another one, and without one the VM would end or hang`
    expect(await failure(captureSnapshot(machine, { store, mode: 'live' }))).toMatchObject({
      code: 'HOST_UNSUPPORTED',
      message: `no live capture: ${because}`,
      remedy: 'use mode auto or stop',
    })
    expect(await touched(machine)).toMatchObject({ ...before, freezers: expect.any(Number) })
    const { way } = await captureSnapshot(machine, { store })
    expect(way).toEqual({ mode: 'stop', because, frozen: null })
    expect((await machine.info()).state).toBe('Running')
    expect(await console.verify(written.pattern, written.seed)).toBe(written.pattern.count)
  })
  if (!ran) context.skip('the host gives no huge pages')
})
