import { copyFileSync, existsSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import {
  checkSnapshot,
  listMachines,
  type OpenSnapshot,
  restoreMachine,
  type SnapshotConfig,
  type SnapshotStore,
} from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandsIn, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const { right, json, refused } = commandsIn(() => world)
beforeAll(async () => {
  writeFileSync(world.path('data.img'), Buffer.alloc(4096))
  const machine = ['--kernel', 'micro.elf', '--memory', '16', '--disk', 'data=data.img', '--vsock-cid', '3']
  await right('boot', ...machine, '--name', 'src')
  await right('snapshot', 'create', 'src', '--tag', 'one')
  await right('stop', 'src')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
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

test('a restore refuses in the words of the check, launches nothing, and leaves nothing', async () => {
  const described = (change: (config: SnapshotConfig) => SnapshotConfig): SnapshotStore => {
    const { store } = world
    const describe = async (ref: string) => {
      const about = await store.describe(ref)
      return { ...about, config: change(about.config) }
    }
    const open = async (ref: string) => {
      const snapshot = await store.open(ref)
      const dispose = () => snapshot[Symbol.asyncDispose]()
      return { ...snapshot, config: change(snapshot.config), [Symbol.asyncDispose]: dispose } as OpenSnapshot
    }
    return { open, describe } as Partial<SnapshotStore> as SnapshotStore
  }
  const mark = world.path('launched')
  const path = world.path('marks-its-launch')
  writeFileSync(path, `#!/bin/sh\ntouch ${mark}\nexec ${world.binary.path} "$@"\n`, { mode: 0o755 })
  const options = { ...world, binary: { ...world.binary, path } }
  for (const [id, store] of [
    ['arch', described((config) => ({ ...config, host: { ...config.host, arch: 'aarch64' } }))],
    [
      'huge-pages',
      described((config) => ({
        ...config,
        machine: { ...config.machine, 'machine-config': { huge_pages: '1G' } },
      })),
    ],
  ] as const) {
    const error = await restoreMachine(store, 'one', options).catch((it) => it)
    expect(error).toMatchObject({ code: 'HOST_UNSUPPORTED', details: { check: id } })
    const check = (await checkSnapshot({ store, ref: 'one' })).find((it) => it.id === id)
    if (id === 'huge-pages') expect(error.message).toBe(check?.says)
    expect(existsSync(mark)).toBe(false)
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  }
  await using restored = (await restoreMachine(world.store, 'one', options)).machine
  expect(existsSync(mark)).toBe(true)
  expect(restored.state).toBe('running')
})

test('a tag that moves while a restore begins: the snapshot that the Firecracker was chosen for is restored', async () => {
  const { store } = world
  await right('restore', 'one', '--name', 'again')
  await right('snapshot', 'create', 'again', '--tag', 'two')
  await right('stop', 'again')
  const { id } = await store.tag('one', 'moving')
  const moves = {
    describe: async (ref: string) => {
      const about = await store.describe(ref)
      await store.tag('two', 'moving')
      return about
    },
    open: store.open.bind(store),
  } as Partial<SnapshotStore> as SnapshotStore
  const { machine, report } = await restoreMachine(moves, 'moving', world)
  await machine.stop()
  expect(report.snapshot).toBe(id)
})

test('--firecracker and --firecracker-dir, of each verb that looks for one', async () => {
  const env = { FIRECRACKER: '/nonexistent' }
  const of = async (...args: string[]) => {
    const { status, stdout, stderr } = await varve({ ...world, env }, ...args)
    return { status, stdout, stderr }
  }
  mkdirSync(world.path('folder'), { mode: 0o755 })
  mkdirSync(world.path('empty'), { mode: 0o755 })
  copyFileSync(world.binary.path, world.path('folder/firecracker'))
  const boot = ['boot', '--kernel', 'micro.elf', '--memory', '16', '--name']
  for (const [i, places] of [
    ['--firecracker', 'folder/firecracker'],
    ['--firecracker-dir', 'folder'],
  ].entries()) {
    for (const verb of [
      [...boot, `boot${i}`],
      ['restore', 'one', '--name', `restored${i}`],
      ['clone', 'one', '-n', '1', '--name', `clone${i}`],
      ['doctor', 'one'],
    ]) {
      const { status, stdout, stderr } = await of(...verb, ...places)
      expect(status, stderr).toBe(0)
      if (verb[0] === 'doctor') expect(stdout).toContain(world.path('folder/firecracker'))
    }
    expect((await of('doctor', ...places)).stdout).toMatch(
      /^ok +firecracker +Firecracker 1\.12\.1 at .*folder\/firecracker \(option /m,
    )
  }
  await varve(world, 'stop', '--all')
  for (const verb of [
    [...boot, 'x'],
    ['restore', 'one'],
    ['clone', 'one'],
  ]) {
    const refused = async (...places: string[]) => {
      const { status, stderr } = await of(...verb, ...places, '--json')
      return { status, code: JSON.parse(stderr).error.code }
    }
    expect(await refused('--firecracker', 'absent')).toEqual({ status: 3, code: 'BINARY_NOT_FOUND' })
    expect(await refused('--firecracker-dir', 'absent')).toEqual({ status: 3, code: 'BINARY_NOT_FOUND' })
    expect(await refused('--firecracker', '')).toEqual({ status: 2, code: 'USAGE' })
    expect(await refused('--firecracker-dir', 'folder', '--firecracker', 'x')).toEqual({
      status: 2,
      code: 'USAGE',
    })
  }
  expect((await of(...boot, 'x', '--firecracker-dir', 'empty')).status).toBe(3)
  expect(listMachines(world.runtimeDirectory)).toEqual([])
})
