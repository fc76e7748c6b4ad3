import {
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { bootMachine, captureSnapshot, type PausedMachine, takeSnapshot } from 'varve'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const uid = 12345
const world = microWorldOfFile()
beforeAll(async () => {
  mkdirSync(world.path('jails'), { mode: 0o700 })
  mkdirSync(world.path('victim'), { mode: 0o700 })
})

const victim = () => world.path('victim/data')
beforeEach(() => {
  writeFileSync(victim(), 'secret of the host', { mode: 0o600 })
})

/** A machine whose VMM was taken over: it can change everything in its jail, and give any answer. */
interface TakenOver extends AsyncDisposable {
  readonly paused: PausedMachine
  /** The jail's root. */
  readonly root: string
}

async function takenOver(name: string): Promise<TakenOver> {
  const own = world.path(`${name}.img`)
  writeFileSync(own, Buffer.alloc(8192, 7))
  chownSync(own, uid, uid)
  const jailer = { uid, gid: uid, chrootBaseDir: world.path('jails') }
  const machine = await bootMachine(
    { name, kernel: world.kernel, memoryMib: 16, vcpus: 1, disks: [{ id: 'data', path: own }] },
    { ...world.launch, jailer },
  )
  const paused = await machine.pause()
  const root = join((await paused.disks())[0]?.hostPath as string, '..')
  return { paused, root, [Symbol.asyncDispose]: () => paused[Symbol.asyncDispose]() }
}

/** Firecracker says that its disk is `folder/data`, which is a name that the disk has, too. */
function claimFolder({ paused, root }: TakenOver): string {
  const folder = join(root, 'folder')
  mkdirSync(folder)
  chownSync(folder, uid, uid)
  linkSync(join(root, 'disk-data'), join(folder, 'data'))
  const { vmConfig } = paused.api
  paused.api.vmConfig = async (options) => {
    const config = await vmConfig(options)
    const drives = (config.drives ?? []).map((drive) => ({ ...drive, path_on_host: 'folder/data' }))
    return { ...config, drives }
  }
  return folder
}

/**
 * Calls `act` as soon as Firecracker has written a snapshot, to replace a file that Varve has already
 * checked.
 */
function onceWritten({ api }: PausedMachine, act: () => void): void {
  const { createSnapshot } = api
  api.createSnapshot = async (body, options) => {
    await createSnapshot(body, options)
    act()
  }
}

const stored = () =>
  readdirSync(world.path('store'), { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((it) => it.isFile())
    .map((it) => readFileSync(join(it.parentPath, it.name), 'latin1'))

describe('a jailed VMM that was taken over', () => {
  test('and swaps a directory for a link while its disk is copied gets no file of the host', async () => {
    await using vm = await takenOver('swaps')
    const folder = claimFolder(vm)
    onceWritten(vm.paused, () => {
      renameSync(folder, `${folder}-aside`)
      symlinkSync(world.path('victim'), folder)
    })
    await expect(captureSnapshot(vm.paused, { store: world.store })).rejects.toMatchObject({
      code: 'PATH_INVALID',
    })
    expect(stored().filter((text) => text.includes('secret of the host'))).toEqual([])
  })

  test('and calls its disk by a path has no file made there', async () => {
    await using vm = await takenOver('calls')
    const { vmConfig } = vm.paused.api
    const up = Array.from({ length: 20 }, () => '..').join('/')
    vm.paused.api.vmConfig = async (options) => {
      const config = await vmConfig(options)
      const drives = (config.drives ?? []).map((it) => ({ ...it, drive_id: `x/${up}${world.path('evil')}` }))
      return { ...config, drives }
    }
    await expect(captureSnapshot(vm.paused, { store: world.store })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    expect(existsSync(world.path('evil'))).toBe(false)
  })

  test('has its disk copied from a directory, where that stays what it is', async () => {
    await using vm = await takenOver('stays')
    claimFolder(vm)
    await using taken = await takeSnapshot(vm.paused, { store: world.store })
    await taken.seal({ tags: ['stays'] })
    await using snapshot = await world.store.open('stays')
    expect(readFileSync(snapshot.diskFiles[0]?.path as string).equals(Buffer.alloc(8192, 7))).toBe(true)
  })

  test('and puts another file in place of its disk has neither copied', async () => {
    await using vm = await takenOver('replaces')
    onceWritten(vm.paused, () => {
      renameSync(join(vm.root, 'disk-data'), join(vm.root, 'aside'))
      writeFileSync(join(vm.root, 'disk-data'), 'another')
    })
    await expect(captureSnapshot(vm.paused, { store: world.store })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
  })

  test.each([
    ['a link', (place: string) => symlinkSync(victim(), place)],
    ['a directory', (place: string) => mkdirSync(place)],
    ['another name of a file', (place: string) => linkSync(join(place, '../disk-data'), place)],
  ])('and leaves %s for the memory file does not have that moved out', async (_what, put) => {
    await using vm = await takenOver('leaves')
    const { createSnapshot } = vm.paused.api
    vm.paused.api.createSnapshot = async (body, options) => {
      await createSnapshot(body, options)
      const place = join(vm.root, body.mem_file_path)
      renameSync(place, `${place}-aside`)
      put(place)
    }
    const files = { statePath: world.path('out.state'), memoryPath: world.path('out.memory') }
    await expect(vm.paused.snapshot({ type: 'Full', ...files })).rejects.toMatchObject({
      code: 'PATH_INVALID',
    })
    for (const path of Object.values(files)) expect(() => readFileSync(path)).toThrow('ENOENT')
    expect(readFileSync(victim(), 'utf8')).toBe('secret of the host')
  })

  test('and keeps its state file open for writing does not change the snapshot', async () => {
    await using vm = await takenOver('keeps')
    const { createSnapshot } = vm.paused.api
    let kept = -1
    let memory = -1
    vm.paused.api.createSnapshot = async (body, options) => {
      await createSnapshot(body, options)
      kept = openSync(join(vm.root, body.snapshot_path), 'r+')
      memory = statSync(join(vm.root, body.mem_file_path)).ino
    }
    const files = { statePath: world.path('kept.state'), memoryPath: world.path('kept.memory') }
    await vm.paused.snapshot({ type: 'Full', ...files })
    const before = readFileSync(files.statePath)
    writeSync(kept, 'changed after the check')
    closeSync(kept)
    expect(readFileSync(files.statePath).equals(before)).toBe(true)
    // The memory file, which is not open any more, was not copied.
    expect(statSync(files.memoryPath).ino).toBe(memory)
    for (const path of Object.values(files))
      expect(statSync(path)).toMatchObject({ uid: process.getuid?.(), nlink: 1 })
  })
})
