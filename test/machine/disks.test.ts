import {
  appendFileSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import {
  copyDisk,
  type DiskSource,
  type LaunchMachineOptions,
  launchMachine,
  listMachines,
  type MachineSpec,
  type PausedMachine,
} from 'varve'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { microWorldOfFile } from '../support/micro-world.js'

// The micro guest drives no disk; Firecracker opens the files all the same, and which
// file it has open is what counts.
const world = microWorldOfFile()
/** The user's files: a disk to write to and one to read, and a snapshot of a machine that has both. */
let data: string
let fixed: string
let snapshot: { readonly statePath: string; readonly memoryPath: string }
const memoryMib = 32
const dataBytes = 3 * 1024 * 1024

beforeAll(async () => {
  data = disk('data.img', dataBytes, 1)
  fixed = disk('fixed.img', 1024 * 1024, 2)
  await using machine = await booted('first')
  const paused = await machine.pause()
  snapshot = await paused.snapshot({
    type: 'Full',
    statePath: world.path('state'),
    memoryPath: world.path('memory'),
  })
  // As a layer's footer does; every load here is from such a file.
  appendFileSync(snapshot.memoryPath, 'bytes behind the regions')
})
beforeEach(() => {
  expect(listMachines(world.runtimeDirectory)).toEqual([])
})

function disk(name: string, bytes: number, filler: number): string {
  writeFileSync(world.path(name), Buffer.alloc(bytes, filler))
  return world.path(name)
}

const launch = (name: string, options: LaunchMachineOptions = {}) =>
  launchMachine({ name, ...world.launch, ...options })

const spec = (): MachineSpec => ({
  kernel: world.kernel,
  memoryMib,
  vcpus: 1,
  rootDisk: { path: fixed, readOnly: true },
  disks: [{ id: 'data', path: data }],
})

async function booted(name: string, options: LaunchMachineOptions = {}, change: Partial<MachineSpec> = {}) {
  const machine = await launch(name, options)
  try {
    return await machine.boot({ ...spec(), ...change })
  } catch (error) {
    await machine.stop()
    throw error
  }
}

/** A clone of the snapshot, left paused; a failed load ends its machine. */
async function clone(
  name: string,
  disks: readonly DiskSource[],
  options: LaunchMachineOptions & { readonly diskDirectory?: string } = {},
): Promise<PausedMachine> {
  const { diskDirectory, ...launching } = options
  const machine = await launch(name, launching)
  try {
    return await machine.load({
      statePath: snapshot.statePath,
      memory: { backend: 'File', path: snapshot.memoryPath },
      disks,
      ...(diskDirectory === undefined ? {} : { diskDirectory }),
    })
  } catch (error) {
    await machine.stop()
    throw error
  }
}

const ownDisks = (): DiskSource[] => [
  { file: 'disk-data', source: data, mode: 'copy' },
  { file: 'disk-rootfs', source: fixed, mode: 'link' },
]

/** What is in a machine's directory but for its locks. */
const filesOf = ({ paths }: { paths: { directory: string } }) =>
  readdirSync(paths.directory).filter((name) => !name.endsWith('.lock'))

/** How a process has a file open: 'r' or 'rw'; undefined if it has not. By device and inode, not by name. */
function opened(pid: number, path: string): string | undefined {
  const { dev, ino } = statSync(path)
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const found = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false })
    if (found?.dev !== dev || found.ino !== ino) continue
    const flags = Number.parseInt(
      /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '',
      8,
    )
    return (flags & 3) === 2 ? 'rw' : 'r'
  }
  return undefined
}

describe('without a jailer', () => {
  test('the guest has the user’s own files, by names in the machine’s directory', async () => {
    await using machine = await booted('own')
    expect(await machine.disks()).toEqual([
      {
        drive: 'data',
        file: 'disk-data',
        hostPath: realpathSync(data),
        identity: `${statSync(data).dev}:${statSync(data).ino}`,
        readOnly: false,
        sizeBytes: dataBytes,
      },
      {
        drive: 'rootfs',
        file: 'disk-rootfs',
        hostPath: realpathSync(fixed),
        identity: `${statSync(fixed).dev}:${statSync(fixed).ino}`,
        readOnly: true,
        sizeBytes: 1024 * 1024,
      },
    ])
    expect(opened(machine.pid, data)).toBe('rw')
    expect(opened(machine.pid, fixed)).toBe('r')
    expect(readlinkSync(join(machine.paths.directory, 'disk-data'))).toBe(realpathSync(data))
    expect(statSync(data).size).toBe(dataBytes)
  })

  test('machines can be booted on private copies of one file, which go with them', async () => {
    const copies = world.path('boot-copies')
    mkdirSync(copies)
    const before = readFileSync(data)
    const change = { disks: [{ id: 'data', path: data, copy: true }] }
    const boot = async (name: string, diskDirectory?: string) => {
      const machine = await launch(name)
      return machine.boot({ ...spec(), ...change }, { diskDirectory })
    }
    {
      await using near = await boot('near')
      await using far = await boot('far', copies)
      const files = [near, far].map(({ paths }) => realpathSync(join(paths.directory, 'disk-data')))
      expect(files[0]).toBe(join(realpathSync(near.paths.directory), 'disk-data'))
      expect(files[1]).toMatch(new RegExp(`^${realpathSync(copies)}/varve-far-[0-9a-f]+/disk-data$`))
      for (const file of files) {
        expect(readFileSync(file).equals(before)).toBe(true)
        expect(statSync(file).mode & 0o777).toBe(0o600)
        writeFileSync(file, 'changed')
      }
      expect(readFileSync(data).equals(before)).toBe(true)
    }
    expect(readdirSync(copies)).toEqual([])
  })

  test('a boot that fails takes its copies away', async () => {
    const copies = world.path('failed-copies')
    mkdirSync(copies)
    await using machine = await launch('failed')
    const bad = {
      ...spec(),
      disks: [{ id: 'data', path: data, copy: true }],
      network: [{ id: 'n', tap: 'varve-no-such-tap' }],
    }
    expect(await failure(machine.boot(bad, { diskDirectory: copies }))).toMatchObject({ code: 'API_REFUSED' })
    expect(readdirSync(copies)).toEqual([])
    expect(existsSync(join(machine.paths.directory, 'disk-data'))).toBe(false)
    await using booted = await machine.boot(spec())
    expect(booted.state).toBe('running')
  })

  test('two clones run at once, each with a disk of its own; nothing of them stays', async () => {
    const elsewhere = world.path('copies')
    mkdirSync(elsewhere)
    const places: string[] = []
    {
      await using one = await clone('one', ownDisks())
      await using two = await clone('two', ownDisks(), { diskDirectory: elsewhere })
      for (const machine of [one, two]) {
        const [copy, shared] = await machine.disks()
        const place = copy?.hostPath as string
        places.push(place)
        expect(copy).toMatchObject({ drive: 'data', file: 'disk-data', readOnly: false })
        expect(opened(machine.pid, place)).toBe('rw')
        expect(statSync(place).mode & 0o777).toBe(0o600)
        expect(readFileSync(place).equals(readFileSync(data))).toBe(true)
        expect(shared?.hostPath).toBe(realpathSync(fixed))
        expect(opened(machine.pid, fixed)).toBe('r')
        expect(opened(machine.pid, data)).toBeUndefined()
      }
      expect(places[0]?.startsWith(one.paths.directory)).toBe(true)
      expect(places[1]?.startsWith(elsewhere)).toBe(true)
      expect(new Set(places).size).toBe(2)
      await (await two.resume()).pause()
    }
    expect(places.filter((place) => existsSync(place))).toEqual([])
    expect(readdirSync(elsewhere)).toEqual([])
  })

  test('a disk of a paused clone is captured with its snapshot', async () => {
    await using machine = await clone('captured', ownDisks())
    const [copy] = await machine.disks()
    writeFileSync(copy?.hostPath as string, Buffer.from('written by the guest'), { flag: 'r+' })
    await machine.snapshot({
      type: 'Full',
      statePath: world.path('state-2'),
      memoryPath: world.path('memory-2'),
    })
    const { sizeBytes } = await copyDisk(copy?.hostPath as string, world.path('disk-2'))
    expect(sizeBytes).toBe(dataBytes)
    expect(readFileSync(world.path('disk-2')).subarray(0, 20).toString()).toBe('written by the guest')
    expect(readFileSync(data).subarray(0, 20)).toEqual(Buffer.alloc(20, 1))
  })

  test('a disk file that was removed or exchanged under the guest is not taken for its disk', async () => {
    const own = disk('exchanged.img', 4096, 5)
    await using machine = await booted('exchanged', {}, { disks: [{ id: 'data', path: own }] })
    const place = async () => (await machine.disks())[0]?.hostPath
    expect(await place()).toBe(realpathSync(own))
    renameSync(own, `${own}.aside`)
    expect(await place()).toBeNull()
    writeFileSync(own, 'another file')
    expect(await place()).toBeNull()
    renameSync(`${own}.aside`, own)
    expect(await place()).toBe(realpathSync(own))
  })

  test.each([
    '/abs/disk',
    '../disk',
    'a/b',
    '..',
    '.',
    '',
    'a\0b',
    'x'.repeat(256),
    'machine.json',
    'machine.json.4711',
    'restore.json.4711',
    'vsock.sock',
    'death.json',
  ])('a disk named %j is refused before anything is made', async (file) => {
    const machine = await launch('paths')
    await using _stop = machine
    const before = filesOf(machine)
    const error = await failure(
      machine.load({
        statePath: snapshot.statePath,
        memory: { backend: 'File', path: snapshot.memoryPath },
        disks: [...ownDisks(), { file, source: data, mode: 'copy' }],
      }),
    )
    expect(error.code).toBe('PATH_INVALID')
    expect(error.remedy).toContain('name')
    expect(filesOf(machine)).toEqual(before)
    expect((await machine.info()).state).toBe('Not started')
  })

  test('a source that is missing takes back what was placed, and the load can be tried again', async () => {
    const machine = await launch('again')
    await using _stop = machine
    const elsewhere = world.path('copies-2')
    mkdirSync(elsewhere)
    const before = filesOf(machine)
    const load = (disks: DiskSource[]) =>
      machine.load({
        statePath: snapshot.statePath,
        memory: { backend: 'File', path: snapshot.memoryPath },
        disks,
        diskDirectory: elsewhere,
      })
    const missing: DiskSource = { file: 'disk-more', source: world.path('absent'), mode: 'copy' }
    expect((await failure(load([...ownDisks(), missing]))).code).toBe('NOT_FOUND')
    const twice = await failure(load([...ownDisks(), ...ownDisks()]))
    expect(twice.code).toBe('ALREADY_EXISTS')
    expect(filesOf(machine)).toEqual(before)
    expect(readdirSync(elsewhere)).toEqual([])
    expect((await (await load(ownDisks())).info()).state).toBe('Paused')
  })

  test('a snapshot without its disk in place is a failed load that names the disk', async () => {
    const error = await failure(clone('lacking', []))
    expect(error.code).toBe('LOAD_FAILED')
    expect(error.message).toMatch(/disk-(data|rootfs)/)
  })

  test('ids that are no ids, or come twice, and files that are not there are refused before the boot', async () => {
    const refusal = async (disks: MachineSpec['disks']) =>
      (await failure(booted('refused', {}, { disks: disks ?? [] }))).code
    expect(await refusal([{ id: '../data', path: data }])).toBe('INVALID_ARGUMENT')
    expect(await refusal([{ id: 'rootfs', path: data }])).toBe('INVALID_ARGUMENT')
    expect(await refusal([{ id: 'data', path: world.path('absent') }])).toBe('NOT_FOUND')
  })

  test('a boot that failed can be tried again with another disk', async () => {
    const machine = await launch('second-try')
    await using _stop = machine
    const tap = { id: 'eth0', tap: 'varve-no-such-tap' }
    expect((await failure(machine.boot({ ...spec(), network: [tap] }))).code).toBe('API_REFUSED')
    const other = disk('other.img', 4096, 4)
    const running = await machine.boot({ ...spec(), disks: [{ id: 'data', path: other }] })
    expect((await running.disks())[0]?.hostPath).toBe(realpathSync(other))
  })
})

describe('in a jail, as another user', () => {
  const uid = 12345
  let jailer: { uid: number; gid: number; chrootBaseDir: string }
  beforeAll(() => {
    const chrootBaseDir = world.path('jail')
    mkdirSync(chrootBaseDir, { mode: 0o700 })
    jailer = { uid, gid: uid, chrootBaseDir }
  })
  const leftInJails = () =>
    readdirSync(jailer.chrootBaseDir, { recursive: true }).filter((name) => String(name).includes('/'))

  test('the guest writes to the user’s own file, where the jail’s user owns it', async () => {
    const own = disk('jail-own.img', 4096, 6)
    chownSync(own, uid, uid)
    {
      await using machine = await booted('in-jail', { jailer }, { disks: [{ id: 'data', path: own }] })
      const [found, root] = await machine.disks()
      expect(found).toMatchObject({ drive: 'data', file: 'disk-data', readOnly: false })
      expect(statSync(found?.hostPath as string).ino).toBe(statSync(own).ino)
      expect(opened(machine.pid, own)).toBe('rw')
      expect(statSync(own).uid).toBe(uid)
      // The root disk is another user's, and read-only: a copy will do.
      expect(statSync(root?.hostPath as string)).toMatchObject({ uid, size: statSync(fixed).size })
      expect(statSync(fixed).uid).toBe(process.getuid?.())
    }
    expect(leftInJails()).toEqual([])
    expect(existsSync(own)).toBe(true)
  })

  test('a disk to write to that the jail’s user does not own is refused, not copied in secret', async () => {
    const error = await failure(booted('foreign', { jailer }))
    expect(error.code).toBe('PATH_INVALID')
    expect(error.remedy).toContain(`uid ${uid}`)
    expect(leftInJails()).toEqual([])
  })

  test('clones of a snapshot from outside run in jails, each with a disk of its own', async () => {
    {
      await using one = await clone('jail-1', ownDisks(), { jailer })
      await using two = await clone('jail-2', ownDisks(), { jailer, diskDirectory: world.path('unused') })
      const inodes = new Set<number>()
      for (const machine of [one, two]) {
        const [copy, root] = await machine.disks()
        const place = copy?.hostPath as string
        expect(place.startsWith(jailer.chrootBaseDir)).toBe(true)
        expect(statSync(place)).toMatchObject({ uid, gid: uid, size: dataBytes })
        expect(opened(machine.pid, place)).toBe('rw')
        expect(opened(machine.pid, root?.hostPath as string)).toBe('r')
        inodes.add(statSync(place).ino)
      }
      expect(inodes.size).toBe(2)
      expect(statSync(data).nlink).toBe(1)
    }
    expect(leftInJails()).toEqual([])
  })

  test('a snapshot taken in a jail is restored outside', async () => {
    const own = disk('jail-out.img', 4096, 7)
    chownSync(own, uid, uid)
    const files = { statePath: world.path('jail-state'), memoryPath: world.path('jail-memory') }
    {
      await using machine = await booted('jail-out', { jailer }, { disks: [{ id: 'data', path: own }] })
      await (await machine.pause()).snapshot({ type: 'Full', ...files })
      expect(statSync(files.memoryPath)).toMatchObject({ uid: process.getuid?.(), nlink: 1 })
    }
    await using machine = await launch('from-jail')
    const paused = await machine.load({
      statePath: files.statePath,
      memory: { backend: 'File', path: files.memoryPath },
      disks: ownDisks(),
    })
    expect((await paused.disks()).map(({ file }) => file)).toEqual(['disk-data', 'disk-rootfs'])
  })

  test('links that the jail’s user leaves are not followed', async () => {
    const own = disk('jail-link.img', 4096, 8)
    chownSync(own, uid, uid)
    const secret = disk('secret', 4096, 9)
    await using machine = await booted('jail-link', { jailer }, { disks: [{ id: 'data', path: own }] })
    const place = (await machine.disks())[0]?.hostPath as string
    renameSync(place, `${place}.aside`)
    symlinkSync(secret, place)
    expect((await failure(machine.disks())).code).toBe('PATH_INVALID')
    expect((await failure(copyDisk(place, world.path('stolen')))).code).toBe('PATH_INVALID')
    expect(existsSync(world.path('stolen'))).toBe(false)
    renameSync(place, `${place}.link`)
    linkSync(`${place}.aside`, place)
    expect((await machine.disks())[0]?.hostPath).toBe(place)
  })
})
