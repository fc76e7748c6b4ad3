import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  bootMachine,
  type LaunchedMachine,
  launchMachine,
  listMachines,
  type RestoreOptions,
  restoreMachine,
  takeSnapshot,
} from 'varve'
import { writeCrc } from 'varve/state-files'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

/** Long enough that a path of a test's directory takes its place in the state file. */
const data = `data_${'x'.repeat(55)}`
const fixed = 'fixed'
const tap = `vt${process.pid}`
const otherTap = `vu${process.pid}`

const world = microWorldOfFile()
beforeAll(async () => {
  for (const name of ['data.img', 'fixed.img']) writeFileSync(world.path(name), Buffer.alloc(2 ** 20, name))
  for (const name of [tap, otherTap]) ip('tuntap', 'add', 'dev', name, 'mode', 'tap')
  await makeSnapshot('good', (state) => state)
})
afterAll(async () => {
  for (const name of [tap, otherTap]) ip('link', 'del', name)
})
beforeEach(() => {
  expect(listMachines(world.runtimeDirectory)).toEqual([])
})

function ip(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' })
  expect(status, stderr).toBe(0)
}

/**
 * A snapshot whose state file was changed before it got its digest: all else is as Firecracker and Varve made
 * it.
 */
async function makeSnapshot(
  tag: string,
  change: (state: Buffer) => Buffer,
  vsock = 'vsock.sock',
): Promise<void> {
  await using machine = await bootMachine(
    {
      kernel: world.kernel,
      memoryMib: 16,
      vcpus: 1,
      vsockCid: 3,
      disks: [
        { id: data, path: world.path('data.img') },
        { id: fixed, path: world.path('fixed.img'), readOnly: true },
      ],
      network: [{ id: 'eth0', tap }],
    },
    world.launch,
  )
  const paused = await machine.pause()
  const { vmConfig } = paused.api
  paused.api.vmConfig = async (options) => ({
    ...(await vmConfig(options)),
    vsock: { guest_cid: 3, uds_path: vsock },
  })
  const taken = await takeSnapshot(paused, { store: world.store })
  const staging = world.path('store/varve/staging')
  const [directory] = readdirSync(staging)
  const path = join(staging, directory as string, 'state')
  const state = change(readFileSync(path))
  writeCrc(state)
  writeFileSync(path, state)
  await taken.seal({ tags: [tag] })
}

/** In the device states: the same text for another, as long. */
function replaced(state: Buffer, text: string, by: string): Buffer {
  expect(Buffer.byteLength(by)).toBe(Buffer.byteLength(text))
  const at = state.lastIndexOf(text)
  expect(at).toBeGreaterThan(0)
  state.write(by, at)
  return state
}

/** The path in other words, so that it has that length. */
function padded(path: string, length: number): string {
  const missing = length - path.length
  expect(missing).toBeGreaterThanOrEqual(0)
  return `/${'./'.repeat(Math.floor(missing / 2))}${missing % 2 === 1 ? '/' : ''}${path.slice(1)}`
}

const launch = () => launchMachine(world.launch)
const restore = (ref: string, machine: LaunchedMachine, options: RestoreOptions = {}) =>
  restoreMachine(world.store, ref, { machine, ...options })

describe('a state file that names what the config does not', () => {
  test('a host file as a drive: it is never opened', async () => {
    const victim = '/tmp/varve-victim'
    const path = padded(victim, `disk-${data}`.length)
    writeFileSync(victim, 'secret', { mode: 0o600 })
    await makeSnapshot('drive', (state) => replaced(state, `disk-${data}`, path))
    for (const engine of ['file', 'mapped', 'paged'] as const) {
      const machine = await launch()
      await expect(restore('drive', machine, { engine })).rejects.toMatchObject({
        code: 'IMAGE_MISMATCH',
        message: expect.stringContaining(victim),
        details: { path, offset: expect.any(Number) },
      })
      expect(machine.unused, 'Firecracker was not asked to load it').toBe(true)
    }
    expect(readFileSync(victim, 'utf8')).toBe('secret')
    rmSync(victim)
  })

  test('a disk of the snapshot itself, for writing, which it may only read', async () => {
    // As long as the name of the other: a second read-only disk of that name would be in place in each clone.
    const name = `disk-${fixed}`
    await makeSnapshot('writable', (state) => {
      // The disk to write to gets the name of the one to read, in a string of its own length.
      const at = state.lastIndexOf(`disk-${data}`)
      const length = Buffer.byteLength(`disk-${data}`)
      const shorter = Buffer.concat([state.subarray(0, at), Buffer.from(name), state.subarray(at + length)])
      shorter.writeBigUInt64LE(BigInt(name.length), at - 8)
      return shorter
    })
    const blob = await withSnapshot(
      'writable',
      ({ diskFiles }) => diskFiles.find(({ drive }) => drive === fixed)?.path,
    )
    const before = readFileSync(blob as string)
    for (const resume of [true, false]) {
      const machine = await launch()
      await expect(restore('writable', machine, { resume })).rejects.toMatchObject({
        code: 'IMAGE_MISMATCH',
        message: expect.stringContaining(`drive ${data}`),
      })
      expect((await machine.exited).signal).toBe('SIGKILL')
    }
    expect(readFileSync(blob as string).equals(before)).toBe(true)
  })

  test('another vsock socket, in another directory or this one', async () => {
    const outside = padded('/tmp/v', 'vsock.sock'.length)
    await makeSnapshot('vsock-outside', (state) => replaced(state, 'vsock.sock', outside))
    await expect(restore('vsock-outside', await launch())).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      details: { path: outside },
    })
    expect(existsSync('/tmp/v')).toBe(false)
    await makeSnapshot('vsock-inside', (state) => replaced(state, 'vsock.sock', 'other.sock'))
    await expect(restore('vsock-inside', await launch())).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining('other.sock'),
    })
  })

  test('another tap device', async () => {
    await makeSnapshot('tap', (state) => replaced(state, tap, otherTap))
    const machine = await launch()
    await expect(restore('tap', machine)).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringMatching(new RegExp(`eth0.*${otherTap}`)),
    })
    expect((await machine.exited).signal).toBe('SIGKILL')
    // The caller of a restore may name the tap.
    const { machine: restored } = await restore('tap', await launch(), { networkOverrides: { eth0: tap } })
    await restored.stop()
  })
})

describe('a state file that names what the config does', () => {
  test('is refused where that is a vsock socket elsewhere, unless the caller names it', async () => {
    const path = padded('/tmp/w', 'vsock.sock'.length)
    await makeSnapshot('elsewhere', (state) => replaced(state, 'vsock.sock', path), path)
    await expect(restore('elsewhere', await launch())).rejects.toMatchObject({
      code: 'PATH_INVALID',
      details: { path },
    })
    expect(existsSync('/tmp/w')).toBe(false)
    const { machine } = await restore('elsewhere', await launch(), { vsockPath: path })
    expect(machine.vsockPath).toBe('/tmp/w')
    await machine.stop()
    rmSync('/tmp/w', { force: true })
  })

  test('is restored by every engine, with the next restore of it in one request', async () => {
    for (const engine of ['file', 'mapped', 'paged'] as const)
      for (const round of [1, 2]) {
        const { machine, report } = await restore('good', await launch(), { engine })
        await using _machine = machine
        expect(machine.state).toBe('running')
        expect(Object.hasOwn(report.phasesMs, 'check'), `${engine} ${round}`).toBe(
          engine === 'file' && round === 1,
        )
      }
  })

  test('with an override of its tap, to which each restore is held', async () => {
    for (const round of [1, 2]) {
      const { machine, report } = await restore('good', await launch(), {
        networkOverrides: { eth0: otherTap },
      })
      await using _machine = machine
      const { 'network-interfaces': interfaces } = await machine.api.vmConfig()
      expect(interfaces?.[0]?.host_dev_name).toBe(otherTap)
      expect(Object.hasOwn(report.phasesMs, 'check')).toBe(round === 1)
    }
  })

  test('is not looked at again by another process, until its blob is gone', async () => {
    const marks = () => readdirSync(world.path('store/varve/verified')).filter((name) => name.includes('.'))
    const ours = await withSnapshot('good', ({ state }) => state.digest.replace('sha256:', ''))
    expect(marks().some((name) => name.startsWith(`${ours}.`))).toBe(true)
    const script = `
      import { openLocalStore, restoreMachine } from 'varve'
      const store = await openLocalStore(${JSON.stringify(world.path('store'))})
      const runtimeDirectory = ${JSON.stringify(world.runtimeDirectory)}
      const { machine, report } = await restoreMachine(store, 'good', { runtimeDirectory })
      await machine.stop()
      console.log(JSON.stringify(report.phasesMs))`
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      env: { ...process.env, FIRECRACKER: world.binary.path },
    })
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).not.toHaveProperty('check')
    await world.store.gc()
    expect(marks().some((name) => name.startsWith(`${ours}.`))).toBe(true)
    await world.store.removeSnapshot('good')
    await world.store.gc()
    expect(marks().filter((name) => name.startsWith(`${ours}.`))).toEqual([])
  })
})

async function withSnapshot<T>(
  ref: string,
  read: (snapshot: Awaited<ReturnType<typeof world.store.open>>) => T,
): Promise<T> {
  await using snapshot = await world.store.open(ref)
  return read(snapshot)
}
