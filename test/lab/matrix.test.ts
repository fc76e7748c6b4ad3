import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { findFirecracker, formatFirecrackerVersion } from 'varve'
import { afterEach, beforeEach, expect, test } from 'vitest'

const program = fileURLToPath(new URL('../../test/scenarios/bin/run-matrix.js', import.meta.url))

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vmt-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

interface Run {
  readonly child: ChildProcess
  /** What it has said by now. */
  readonly said: { stdout: string; stderr: string }
  readonly ended: Promise<number | null>
}

function start(...args: readonly string[]): Run {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      said[name] += text
    })
  return { child, said, ended: once(child, 'close').then(([code]) => code) }
}

async function matrix(...args: readonly string[]) {
  const { said, ended } = start(...args)
  return { status: await ended, ...said }
}

/** Says that it is a Firecracker, and is none. */
function impostor(name: string, words: string): string {
  mkdirSync(join(folder, name))
  const path = join(folder, name, 'firecracker')
  writeFileSync(path, `#!/bin/sh\n[ "$1" = --version ] && echo '${words}' && exit\nexit 7\n`, { mode: 0o755 })
  return path
}

const two = ['--scenario', 'load-writes', '--scenario', 'untracked-diff']

test('the Firecracker at hand: a table in which both scenarios are ok', async () => {
  const { path, version } = await findFirecracker()
  const { status, stdout, stderr } = await matrix(...two, path)
  expect(stdout.split('\n').slice(0, 4)).toEqual([
    expect.stringMatching(/^scenario +\d+\.\d+\.\d+$/),
    expect.stringMatching(/^load-writes +ok \d+\.\d s$/),
    expect.stringMatching(/^untracked-diff +ok \d+\.\d s$/),
    '',
  ])
  expect(stdout).toContain(`${formatFirecrackerVersion(version)}: ${path}`)
  expect(stderr).toContain('load-writes: ok')
  expect(status).toBe(0)
  expect(readdirSync(folder)).toEqual([])
})

test('binaries that are no Firecracker fail in each cell, and the others are run; --json', async () => {
  const { path } = await findFirecracker()
  const lying = impostor('lying', 'Firecracker v1.16.1')
  const mute = impostor('mute', 'hello')
  const { status, stdout } = await matrix('--json', ...two, mute, path, lying)
  const { binaries, rows } = JSON.parse(stdout)
  expect(binaries.map((it: { path: string }) => it.path)).toEqual([path, lying, mute])
  expect(rows.map((it: { scenario: string }) => it.scenario)).toEqual(['load-writes', 'untracked-diff'])
  for (const { cells } of rows) {
    const [right, liar, silent] = cells
    expect(right).toMatchObject({ status: 'ok', reason: null })
    expect(liar).toMatchObject({ status: 'failed', reason: expect.stringContaining('[LAUNCH_FAILED]') })
    expect(silent).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('no Firecracker version'),
    })
  }
  expect(rows[0].cells[0].facts).toMatchObject({ named: expect.arrayContaining(['VMGenID']) })
  expect(status).toBe(5)
  expect(readdirSync(folder).sort()).toEqual(['lying', 'mute'])
})

test('a scenario says why it does not apply, which is no failure', async () => {
  const alone = join(folder, 'alone')
  mkdirSync(alone)
  // Without its jailer.
  const { path } = await findFirecracker()
  writeFileSync(join(alone, 'firecracker'), readFileSync(path), { mode: 0o755 })
  const { status, stdout } = await matrix('--scenario', 'jailed', alone)
  expect(stdout).toMatch(/^jailed +n\/a$/m)
  expect(stdout).toMatch(/, jailed: not applicable: no jailer is next to /)
  expect(status).toBe(0)
})

test('a scenario that takes too long is ended with all it started', async () => {
  const { path } = await findFirecracker()
  const { status, stdout } = await matrix('--limit', '2', '--scenario', 'killed-restore-file', path)
  expect(stdout).toMatch(/^killed-restore-file +FAILED/m)
  expect(stdout).toContain('it did not end within 2 s')
  expect(status).toBe(5)
  expect(await leftIn(folder)).toEqual([])
  expect(readdirSync(folder)).toEqual([])
})

test('one that does not even take a signal is killed, and its VMs with it', async () => {
  const { path } = await findFirecracker()
  const { child, said, ended } = start('--limit', '4', '--scenario', 'page-server-recovery', path)
  const vmms = () => processesOf(folder).filter((pid) => commandOf(pid).startsWith(path))
  while (vmms().length === 0) {
    expect(child.exitCode, said.stdout).toBeNull()
    await sleep(20)
  }
  const [vmm] = vmms() as [string]
  const scenario = processesOf(folder).find((pid) => commandOf(pid).includes('run-scenarios.js'))
  process.kill(Number(scenario), 'SIGSTOP')
  expect(await ended).toBe(5)
  expect(said.stdout).toContain('it did not end within 4 s')
  expect(vmms()).not.toContain(vmm)
  expect(await leftIn(folder)).toEqual([])
  expect(readdirSync(folder)).toEqual([])
})

test('Ctrl-C ends what runs, and shows what was found by then', async () => {
  const { path } = await findFirecracker()
  const { child, said, ended } = start(
    '--scenario',
    'load-writes',
    '--scenario',
    'killed-restore-paged',
    path,
  )
  while (!said.stderr.includes('load-writes: ok') || processesOf(folder).length < 2) {
    expect(child.exitCode, said.stdout).toBeNull()
    await sleep(20)
  }
  child.kill('SIGINT')
  expect(await ended).toBe(130)
  expect(said.stdout).toMatch(/^load-writes +ok/m)
  expect(said.stdout).toMatch(/^killed-restore-paged +–$/m)
  expect(await leftIn(folder)).toEqual([])
  expect(readdirSync(folder)).toEqual([])
})

/** Processes that work in the folder or were told to. */
function processesOf(directory: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1')
      return environment.includes(`=${directory}`) || readlinkSync(`/proc/${pid}/cwd`).startsWith(directory)
    } catch {
      // Ended since the listing.
      return false
    }
  })
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
  } catch {
    return ''
  }
}

/** A page server without VMs is there for some seconds more. */
async function leftIn(directory: string): Promise<string[]> {
  for (let tries = 0; processesOf(directory).length > 0 && tries < 300; tries++) await sleep(100)
  return processesOf(directory)
}
