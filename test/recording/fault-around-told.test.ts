import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandsIn, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const entry = fileURLToPath(new URL('../../packages/core/bin/varve.js', import.meta.url))

const world = microWorldOfFile({ onDisk: true })
const { right, consoleOf } = commandsIn(() => world)

beforeAll(async () => {
  // Reads 300 pages, 6 apart, of a file that is in the page cache.
  writeFileSync(world.path('work.sh'), `printf '\\030''1 read 1100 300 6 1\\n' >"$VARVE_CONSOLE"; sleep 1`)
  await right('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
  await using guest = consoleOf('web')
  await guest.fill({ start: 1024, count: 3000 }, 1)
  await right('snapshot', 'create', 'web', '--tag', 'base')
  await right('stop', 'web')
  // Makes the flat file, which then is in the page cache.
  await right('restore', 'base', '--engine', 'file', '--name', 'first')
  await right('stop', 'first')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

/**
 * Runs `varve` in a mount namespace of its own, with debugfs mounted or not, independent of the machine. A
 * plain file plays the kernel's setting, because a locked-down kernel refuses every change. The scenario
 * `ground-truth` in the nested lab shows that the real setting keeps neighbours out.
 */
async function varveWith(debugfs: 'mounted' | 'not mounted', ...args: readonly string[]) {
  writeFileSync(world.path('setting'), '65536\n')
  const unmount = 'for at in $(awk \'$3 == "debugfs" { print $2 }\' /proc/mounts); do umount -l "$at"; done'
  const mount =
    debugfs === 'mounted'
      ? 'mount -t debugfs debugfs /sys/kernel/debug; mount --bind setting /sys/kernel/debug/fault_around_bytes'
      : 'true'
  const { stdout, stderr } = await promisify(execFile)(
    'unshare',
    ['--mount', 'sh', '-ec', `${unmount}; ${mount}; exec "$0" "$@"`, process.execPath, entry, ...args],
    {
      cwd: world.directory,
      env: {
        ...process.env,
        VARVE_RUNTIME_DIR: world.runtimeDirectory,
        VARVE_STORE: world.store.location,
        FIRECRACKER: world.binary.path,
      },
    },
  )
  return { json: JSON.parse(stdout), stderr }
}

const record = ['ws', 'record', 'base', '--save', 'read', '--json', '--', 'sh', 'work.sh'] as const
const command = 'mount -t debugfs debugfs /sys/kernel/debug'

test('a recording that neighbours of touched pages are in says how many, why, and what to run', async () => {
  const { json, stderr } = await varveWith('not mounted', ...record)
  const [{ notes, exact }] = json.recorders
  const { tooManyAtMost } = notes.faultAround
  // The guest read 300 pages and has some of its own; the kernel mapped what lies between.
  expect(json.pages).toBeGreaterThan(900)
  expect(json.pages - tooManyAtMost).toBeLessThan(400)
  expect(exact.present).toBe(false)
  expect(notes.faultAround).toMatchObject({ held: false, reason: 'debugfs is not mounted', remedy: command })
  expect(json.warnings).toHaveLength(1)
  for (const words of [
    `${tooManyAtMost.toLocaleString('en-US')} of the`,
    'debugfs is not mounted',
    command,
  ]) {
    expect(json.warnings[0]).toContain(words)
    expect(stderr).toContain(words)
  }
})

test('one that could hold fault-around warns of nothing, and puts the setting back', async () => {
  const { json, stderr } = await varveWith('mounted', ...record)
  expect(json).toMatchObject({
    warnings: [],
    recorders: [{ exact: { present: true }, notes: { faultAround: { held: true, bytes: 4096 } } }],
  })
  expect(stderr).not.toContain('debugfs')
  expect(readFileSync(world.path('setting'), 'latin1')).toBe('65536\n')
})

test('doctor tells which of the two this host is', async () => {
  const checkOf = async (debugfs: 'mounted' | 'not mounted') =>
    (await varveWith(debugfs, 'doctor', '--json')).json.checks.find(
      ({ id }: { id: string }) => id === 'fault-around',
    )
  expect(await checkOf('mounted')).toMatchObject({ status: 'ok' })
  expect(await checkOf('not mounted')).toMatchObject({
    status: 'note',
    finding: expect.stringContaining('debugfs is not mounted'),
    remedy: command,
  })
})
