import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { buildMicroGuest } from '@varve/lab'
import { checkSnapshot, listMachines, type OpenSnapshot, restoreMachine, type SnapshotStore } from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandsIn, varve } from './support/cli.js'
import { openWorld, type World } from './support/world.js'

let world: World
const { right, json, refused } = commandsIn(() => world)
beforeAll(async () => {
  world = await openWorld()
  writeFileSync(world.path('micro.elf'), buildMicroGuest())
  writeFileSync(world.path('data.img'), Buffer.alloc(4096))
  const machine = ['--kernel', 'micro.elf', '--memory', '16', '--disk', 'data=data.img', '--vsock-cid', '3']
  await right('boot', ...machine, '--name', 'src')
  await right('snapshot', 'create', 'src', '--tag', 'one')
  await right('stop', 'src')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
  await world[Symbol.asyncDispose]()
})

type Checks = readonly { readonly id: string; readonly status: string; readonly says: string }[]
const statuses = (checks: Checks) => Object.fromEntries(checks.map(({ id, status }) => [id, status]))

test('of a snapshot that can be restored here: nothing fails, and it can', async () => {
  const { checks } = await json('doctor', 'one')
  expect(statuses(checks)).toMatchObject({
    files: 'ok',
    state: 'ok',
    firecracker: 'ok',
    arch: 'ok',
    cpu: 'ok',
    'cpu-features': 'ok',
    kernel: 'ok',
    'huge-pages': 'ok',
    regions: 'ok',
    'drive data': 'ok',
    vsock: 'ok',
    'state-paths': 'ok',
    clock: 'ok',
    vmgenid: 'warn',
  })
  expect(Object.values(statuses(checks))).not.toContain('fail')
  const { stdout } = await right('doctor', 'one')
  expect(stdout).toMatch(/^ok {4}firecracker +Firecracker 1\.12\.1 at /m)
  expect(stdout).toMatch(/^warn {2}vmgenid +.*\(firecracker#5760\)\n +-> /m)
  await right('restore', 'one', '--name', 'well')
  await right('stop', 'well')
  // Nothing was launched, and no lease stays.
  expect(listMachines(world.runtimeDirectory)).toEqual([])
})

test('of a directory and of a state file', async () => {
  mkdirSync(world.path('dir'))
  await right('flatten', 'one', 'dir/memory', '--state', 'dir/state')
  for (const place of ['./dir', 'dir', 'dir/state']) {
    const { checks } = await json('doctor', place)
    expect(statuses(checks)).toMatchObject({ state: 'ok', firecracker: 'ok', devices: 'warn' })
    expect('regions' in statuses(checks)).toBe(place !== 'dir/state')
  }
  truncateSync(world.path('dir/memory'), 4096)
  expect(await refused(4, 'IMAGE_MISMATCH', 'doctor', 'dir')).toContain(
    'dir cannot be restored here: regions',
  )
  rmSync(world.path('dir/state'))
  await refused(6, 'NOT_FOUND', 'doctor', 'dir')
  await refused(6, 'NOT_FOUND', 'doctor', 'nothing')
  await refused(2, 'USAGE', 'doctor', 'one', 'two')
})

test('a restore refuses in the words of the check, and leaves nothing', async () => {
  const opened = (change: (snapshot: OpenSnapshot) => Partial<OpenSnapshot>): SnapshotStore => {
    const { store } = world
    const open = async (ref: string) => {
      const snapshot = await store.open(ref)
      const dispose = () => snapshot[Symbol.asyncDispose]()
      return { ...snapshot, ...change(snapshot), [Symbol.asyncDispose]: dispose } as OpenSnapshot
    }
    return { open, describe: store.describe.bind(store) } as Partial<SnapshotStore> as SnapshotStore
  }
  for (const [id, store] of [
    ['arch', opened(({ config }) => ({ config: { ...config, host: { ...config.host, arch: 'aarch64' } } }))],
    [
      'huge-pages',
      opened(({ config }) => ({
        config: { ...config, machine: { ...config.machine, 'machine-config': { huge_pages: '2M' } } },
      })),
    ],
  ] as const) {
    const error = await restoreMachine(store, 'one', world).catch((it) => it)
    expect(error).toMatchObject({ code: 'HOST_UNSUPPORTED', details: { check: id } })
    const check = (await checkSnapshot({ store, ref: 'one' })).find((it) => it.id === id)
    if (id === 'huge-pages') expect(error.message).toBe(check?.says)
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  }
})
