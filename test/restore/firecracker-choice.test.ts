import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import {
  launchMachine,
  listMachines,
  parseFirecrackerVersion,
  restoreLayeredMemory,
  restoreMachine,
  type SnapshotStore,
} from 'varve'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
/** Real and pretended Firecrackers side by side. */
let folder: string

/** Says that it is a version, and leaves a mark if it is started as a VMM. */
function pretend(version: string): string {
  const path = world.path(`many/firecracker-v${version}-x86_64`)
  writeFileSync(
    path,
    `#!/bin/sh\nif [ "$1" = --version ]; then echo "Firecracker v${version}"; else touch "$0.started"; exit 1; fi\n`,
    { mode: 0o755 },
  )
  return path
}

beforeAll(async () => {
  folder = world.path('many')
  mkdirSync(folder, { mode: 0o755 })
  const boot = ['boot', '--kernel', 'micro.elf', '--memory', '16', '--name', 'src']
  expect((await varve(world, ...boot)).stderr).toBe('')
  const create = await varve(world, 'snapshot', 'create', 'src', '--tag', 'one')
  expect(create.status, create.stderr).toBe(0)
  await varve(world, 'stop', 'src')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

describe('a restore and its Firecracker', () => {
  test('of several, the one that took the snapshot; the report says which and why', async () => {
    copyFileSync(world.binary.path, world.path('many/firecracker'))
    const others = ['1.13.2', '1.14.4', '1.16.1'].map(pretend)
    const env = { FIRECRACKER: '', VARVE_FIRECRACKER_DIR: folder }
    const restored = await varve({ ...world, env }, 'restore', 'one', '--name', 'a', '--json')
    expect(restored.status, restored.stderr).toBe(0)
    expect(restored.json().firecracker).toEqual({
      version: '1.12.1',
      path: world.path('many/firecracker'),
      origin: '$VARVE_FIRECRACKER_DIR',
      reason: 'it took the snapshot',
    })
    const text = await varve({ ...world, env }, 'restore', 'one', '--name', 'b')
    expect(text.stdout).toMatch(
      /^firecracker {2}1\.12\.1 \(\$VARVE_FIRECRACKER_DIR\): it took the snapshot$/m,
    )
    for (const it of others) expect(existsSync(`${it}.started`)).toBe(false)
  })

  test('one that does not load it is refused before it is launched', async () => {
    const other = pretend('1.16.1')
    const named = await varve(
      { ...world, env: { FIRECRACKER: other } },
      'restore',
      'one',
      '--name',
      'c',
      '--json',
    )
    expect(named.status).toBe(3)
    expect(JSON.parse(named.stderr).error).toMatchObject({
      code: 'VERSION_UNSUPPORTED',
      message: expect.stringContaining(
        '(snapshot version 6.0.0) is loaded by Firecracker 1.12.0 or 1.12.1 only',
      ),
      details: { maker: '1.12.1', needs: '1.12.0 or 1.12.1' },
    })
    const binary = { path: other, version: parseFirecrackerVersion('1.16.1'), origin: 'PATH' } as const
    const given = restoreMachine(world.store, 'one', { binary, runtimeDirectory: world.runtimeDirectory })
    await expect(given).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
    // The same of files, whose state tells the series.
    const files = { statePath: world.path('flat/state'), memoryPath: world.path('flat/memory') }
    expect((await varve(world, 'flatten', 'one', 'flat', '--layered')).status).toBe(0)
    await expect(
      restoreLayeredMemory(files, { binary, runtimeDirectory: world.runtimeDirectory }),
    ).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
    expect(existsSync(`${other}.started`)).toBe(false)
  })

  test('one that was launched ahead is checked too, and ended', async () => {
    const { runtimeDirectory } = world
    const machine = await launchMachine({ name: 'ahead', binary: world.binary, runtimeDirectory })
    // The same snapshot, had another release taken it.
    const { config, ...rest } = await world.store.describe('one')
    const store = {
      describe: async () => ({ ...rest, config: { ...config, firecracker: { version: '1.14.4' } } }),
      open: world.store.open.bind(world.store),
    } as Partial<SnapshotStore> as SnapshotStore
    await expect(restoreMachine(store, 'one', { machine })).rejects.toMatchObject({
      code: 'VERSION_UNSUPPORTED',
    })
    expect(listMachines(runtimeDirectory).map(({ record }) => record.id)).not.toContain('ahead')
    await using ready = await launchMachine({ name: 'ready', binary: world.binary, runtimeDirectory })
    const { report } = await restoreMachine(world.store, 'one', { machine: ready })
    expect(report.firecracker).toEqual({
      version: '1.12.1',
      path: null,
      origin: null,
      reason: 'it was launched ahead',
    })
  })
})
