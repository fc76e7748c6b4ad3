import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ownIdentity } from '../sys/holder.js'
import { holdLife } from '../sys/life-lock.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { runtimeDirectory } from '../usable-runtime.js'
import { endAndRemove } from './end-machine.js'
import { changeRecord, type MachineRecord, readRecord } from './machine-record.js'
import { claimMachineDirectory, findMachine, listMachines } from './runtime-directory.js'

let runtime: string
const children: ChildProcess[] = []
beforeEach(() => {
  runtime = mkdtempSync(join(tmpdir(), 'varve-runtime-'))
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(runtime, { recursive: true })
})

/** A process that stands for a VMM or a helper. */
function living(): ProcessIdentity {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  children.push(child)
  return processIdentity(child.pid as number) as ProcessIdentity
}

async function dead(): Promise<ProcessIdentity> {
  const identity = living()
  const child = children.at(-1) as ChildProcess
  child.kill('SIGKILL')
  await once(child, 'exit')
  return identity
}

function recordOf(id: string, change: Partial<MachineRecord> = {}): MachineRecord {
  return {
    format: 'varve-machine',
    version: 1,
    id,
    createdAt: new Date().toISOString(),
    // As an older version writes them: pids and start times decide, and stand-ins for VMMs need no locks.
    boot: null,
    pidNamespace: null,
    process: null,
    owner: ownIdentity(),
    firecrackerVersion: '1.12.1',
    dirtyTracking: true,
    vsockPath: null,
    guestAgent: null,
    jail: null,
    diskDirectory: null,
    leases: { memory: null, log: null },
    snapshotId: null,
    owed: null,
    frozen: [],
    snapshotsTaken: 0,
    ranSince: false,
    pausedSinceLoad: false,
    origin: { kind: 'boot', from: '' },
    labels: {},
    ...change,
  }
}

/** Its owner's lock is given up at once: owners of these tests are named by pid. */
function claim(id: string, record: MachineRecord = recordOf(id)): string {
  const { directory, owner } = claimMachineDirectory(runtime, record)
  owner.release()
  return directory
}

function machine(
  id: string,
  change: Partial<MachineRecord> = {},
): { directory: string; record: MachineRecord } {
  const record = recordOf(id, change)
  return { directory: claim(id, record), record }
}

const ids = () => listMachines(runtime).map(({ record }) => record.id)

test('where it is', () => {
  const env = { VARVE_RUNTIME_DIR: '/v', XDG_RUNTIME_DIR: '/x' }
  expect(runtimeDirectory(env)).toBe('/v')
  expect(runtimeDirectory({ XDG_RUNTIME_DIR: '/x' })).toBe('/x/varve')
  const uid = process.getuid?.()
  expect(runtimeDirectory({})).toBe(uid === 0 ? '/run/varve' : join(tmpdir(), `varve-${uid}`))
})

test('a VMM whose starter was killed before it came on record is ended; a shell in its directory is not', async () => {
  const directory = claim('web', recordOf('web', { owner: await dead() }))
  const stdio = 'ignore'
  const vmm = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', '--', '--id', 'web'], {
    cwd: directory,
    stdio,
  })
  const shell = spawn('sleep', ['600'], { cwd: directory, stdio })
  children.push(vmm, shell)
  const identities = [vmm, shell].map(({ pid }) => processIdentity(pid as number) as ProcessIdentity)
  const ended = once(vmm, 'exit')
  expect(listMachines(runtime)).toEqual([])
  expect(await ended).toEqual([null, 'SIGKILL'])
  expect(identities.map(isAlive)).toEqual([false, true])
})

describe('a claim', () => {
  test('makes a private directory once', () => {
    const directory = claim('one')
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    expect(() => claim('one')).toThrow('a machine named one exists')
  })

  test.each(['', 'A', '-a', 'a/b', '..', 'a'.repeat(33), 'a\n'])('%j is no name', (id) => {
    expect(() => claim(id)).toThrow('is not 1–32')
    expect(readdirSync(runtime)).toEqual([])
  })

  test('is refused where others can look in, or a link leads elsewhere', () => {
    chmodSync(runtime, 0o750)
    expect(() => claim('one')).toThrow('mode 0700')
    chmodSync(runtime, 0o700)
    rmSync(join(runtime, 'machines'), { recursive: true })
    mkdirSync(join(runtime, 'elsewhere'), { mode: 0o700 })
    symlinkSync(join(runtime, 'elsewhere'), join(runtime, 'machines'))
    expect(() => claim('one')).toThrow('is not a directory')
    expect(() => listMachines(runtime)).toThrow('is not a directory')
  })

  test('takes the name of a dead machine', async () => {
    const { directory } = machine('one', { owner: null, process: await dead() })
    writeFileSync(join(directory, 'old'), '')
    expect(claim('one')).toBe(directory)
    expect(readdirSync(directory).sort()).toEqual(['machine.json', 'owner.lock'])
  })
})

describe('a listing', () => {
  test('has what lives, by name', () => {
    machine('b', { process: living() })
    machine('a', { process: living(), owner: null })
    machine('starting')
    expect(ids()).toEqual(['a', 'b'])
    expect(findMachine('b', runtime).record.id).toBe('b')
    expect(() => findMachine('starting', runtime)).toThrow('no machine named starting')
    expect(existsSync(join(runtime, 'machines', 'starting'))).toBe(true)
  })

  test('is empty where nothing ever ran', () => {
    expect(listMachines(join(runtime, 'absent'))).toEqual([])
  })

  test('ends what lost its owner: VMM, disks, directory', async () => {
    const vmm = living()
    const diskDirectory = join(runtime, 'disks')
    mkdirSync(diskDirectory)
    const { directory } = machine('orphan', {
      process: vmm,
      owner: await dead(),
      diskDirectory,
    })
    expect(ids()).toEqual([])
    expect([isAlive(vmm), existsSync(directory), existsSync(diskDirectory)]).toEqual(Array(3).fill(false))
    expect(() => findMachine('orphan', runtime)).toThrow('no machine named orphan')
  })

  test('removes a machine that died under its living owner, which can ask why', async () => {
    const diskDirectory = join(runtime, 'disks')
    const lease = join(runtime, 'lease.json')
    mkdirSync(diskDirectory)
    writeFileSync(lease, '')
    const process = await dead()
    const { directory } = machine('ended', { process, diskDirectory, leases: { memory: lease, log: null } })
    writeFileSync(join(directory, 'stderr.log'), 'no such kernel\n')
    expect(ids()).toEqual([])
    expect([directory, diskDirectory, lease].map((path) => existsSync(path))).toEqual(Array(3).fill(false))
    expect(() => findMachine('ended', runtime)).toThrow('has ended: Firecracker ended: no such kernel')
  })

  test('removes a detached machine that died, and keeps why', async () => {
    const { directory } = machine('detached', { process: await dead(), owner: null })
    writeFileSync(join(directory, 'death.json'), '{"reason":"page-server-died","detail":"process 7"}')
    expect(ids()).toEqual([])
    expect(existsSync(directory)).toBe(false)
    expect(() => findMachine('detached', runtime)).toThrow('has ended: page-server-died: process 7')
    // A name that is no name is only not found.
    expect(() => findMachine('../ended/detached', runtime)).toThrow('no machine named')
    claim('detached')
    expect(() => findMachine('detached', runtime)).toThrow('no machine named detached')
  })

  test('keeps the reasons of the last hundred', async () => {
    const gone = await dead()
    for (let index = 0; index < 103; index++) {
      machine(`dead-${index}`, { process: gone, owner: null })
      ids()
    }
    expect(readdirSync(join(runtime, 'ended'))).toHaveLength(100)
    expect(() => findMachine('dead-102', runtime)).toThrow('has ended: Firecracker ended: it left no message')
  })

  test('removes a directory without a record, unless something in it lives', () => {
    const directory = claim('unrecorded')
    rmSync(join(directory, 'machine.json'))
    const vmm = holdLife(join(directory, 'stderr.log'))
    expect(ids()).toEqual([])
    expect(existsSync(directory)).toBe(true)
    vmm?.release()
    expect(ids()).toEqual([])
    expect(readdirSync(join(runtime, 'machines'))).toEqual([])
  })

  test.each([
    ['a later version', JSON.stringify({ ...recordOf('strange'), version: 2 })],
    ['no JSON', '{'],
    [
      'a pid that would be everybody',
      JSON.stringify(recordOf('strange', { process: { pid: -1, startTime: 1 } })),
    ],
    ['init', JSON.stringify(recordOf('strange', { process: { pid: 1, startTime: 0 } }))],
    [
      'a jail that is the root',
      JSON.stringify(recordOf('strange', { jail: { root: '/x', uid: 1, gid: 1 } })),
    ],
    ['a relative folder', JSON.stringify(recordOf('strange', { diskDirectory: 'x' }))],
    ['too much', JSON.stringify({ ...recordOf('strange'), more: 'x'.repeat(65536) })],
  ])('leaves alone a record of %s', (_, text) => {
    const directory = claim('strange')
    writeFileSync(join(directory, 'machine.json'), text)
    utimesSync(directory, 0, 0)
    expect(ids()).toEqual([])
    expect(existsSync(directory)).toBe(true)
    expect(() => claim('strange')).toThrow('exists')
  })

  test('reads a record that knows nothing of disk directories yet', () => {
    const { directory, record } = machine('older', { process: living() })
    const { diskDirectory: _, ...older } = record
    writeFileSync(join(directory, 'machine.json'), JSON.stringify(older))
    expect(findMachine('older', runtime).record.diskDirectory).toBeNull()
  })
})

describe('the end', () => {
  test('can be repeated', () => {
    const { directory, record } = machine('one', { process: living() })
    endAndRemove(directory, record)
    endAndRemove(directory, record)
    expect(existsSync(directory)).toBe(false)
    expect(record.process && isAlive(record.process)).toBe(false)
  })

  test('of a machine leaves a later one of its name alone', () => {
    const old = machine('one', { process: living() })
    endAndRemove(old.directory, old.record)
    const next = machine('one', { process: living() })
    endAndRemove(old.directory, old.record)
    expect(readRecord(next.directory)).toEqual(next.record)
    expect(next.record.process && isAlive(next.record.process)).toBe(true)
  })
})

describe('a change of the record', () => {
  test('keeps what others changed, and comes back', () => {
    const { directory, record } = machine('one', { process: living() })
    changeRecord(directory, record, () => ({ snapshotsTaken: 1 }))
    const now = changeRecord(directory, record, ({ snapshotsTaken }) => ({
      snapshotId: `after ${snapshotsTaken}`,
    }))
    expect(now).toEqual({ ...record, snapshotsTaken: 1, snapshotId: 'after 1' })
    expect(readRecord(directory)).toEqual(now)
    expect(statSync(join(directory, 'machine.json')).mode & 0o777).toBe(0o600)
  })

  test('of a machine that is gone is known to its caller alone', () => {
    const { directory, record } = machine('one', { process: living() })
    endAndRemove(directory, record)
    expect(changeRecord(directory, record, () => ({ snapshotsTaken: 5 })).snapshotsTaken).toBe(5)
    expect(existsSync(directory)).toBe(false)
    const next = machine('one', { process: living() })
    changeRecord(directory, record, () => ({ snapshotsTaken: 6 }))
    expect(readRecord(directory)).toEqual(next.record)
  })
})
