import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { openReflinkFileSystem, type ReflinkFileSystem } from '@varve/lab'
import { bootMachine, type CapturedSnapshot, captureSnapshot, isVarveError, openLocalStore } from 'varve'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

// The micro guest drives no disk: what its disk holds when it is captured, this process wrote. Guests that
// write to theirs meanwhile are in test/linux/guests.test.ts.
const world = microWorldOfFile({ onDisk: true })
const diskBytes = 64 * 2 ** 20

let xfs: ReflinkFileSystem | undefined
let reason = ''
beforeAll(async () => {
  try {
    xfs = await openReflinkFileSystem(world.directory, 2 ** 30, { onProgress: (said) => console.error(said) })
  } catch (error) {
    if (!isVarveError(error, 'HOST_UNSUPPORTED')) throw error
    reason = error.message
    console.error(`NOT RUN: writable disks on a reflink file system: ${reason}`)
  }
})
afterAll(async () => {
  await xfs?.[Symbol.asyncDispose]()
})

interface CapturedDisk {
  readonly captured: readonly CapturedSnapshot[]
  /** How much space each capture took, apart from its layer. */
  readonly takenBytes: readonly number[]
}

/** A machine with a disk that changes between two live captures, all in one directory. */
async function capturedIn(directory: string): Promise<CapturedDisk> {
  mkdirSync(directory, { mode: 0o700 })
  const store = await openLocalStore(join(directory, 'store'), { create: true })
  const disk = join(directory, 'disk.img')
  const content = randomBytes(diskBytes)
  writeFileSync(disk, content)
  const fd = openSync(disk, 'r+')
  const { kernel, launch } = world
  const machine = await bootMachine(
    { kernel, memoryMib: 32, vcpus: 1, disks: [{ id: 'data', path: disk }] },
    launch,
  )
  const captured: CapturedSnapshot[] = []
  const takenBytes: number[] = []
  try {
    for (const tag of ['one', 'two']) {
      // Sharing blocks waits for what is dirty in the page cache.
      content.writeUInt32LE(captured.length, diskBytes / 2)
      writeSync(fd, content, diskBytes / 2, 4096, diskBytes / 2)
      fsyncSync(fd)
      const free = freeBytes(directory)
      const one = await captureSnapshot(machine, { store, tags: [tag], mode: 'live' })
      takenBytes.push(free - freeBytes(directory) - one.layer.storedPages * 4096)
      captured.push(one)
      await using snapshot = await store.open(tag)
      const [kept] = snapshot.diskFiles
      expect(readFileSync(kept?.path as string).equals(content), `the disk of ${tag}`).toBe(true)
    }
    // The first one's has not changed with the machine's.
    expect((await store.fsck()).findings).toEqual([])
  } finally {
    closeSync(fd)
    await machine.stop()
  }
  return { captured, takenBytes }
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize
}

test('a writable disk is copied while the guest stands still; on a file system with reflinks that takes no space and little time', async (context: TestContext) => {
  if (xfs === undefined) return context.skip(reason)
  const shared = await capturedIn(join(xfs.path, 'there'))
  const copied = await capturedIn(join(world.directory, 'there'))
  for (const { captured } of [shared, copied])
    for (const { way, disksMs, standstillMs } of captured) {
      expect(way.mode).toBe('live')
      expect(disksMs).toBeGreaterThan(0)
      expect(disksMs).toBeLessThan(standstillMs as number)
    }
  for (const taken of shared.takenBytes) expect(taken).toBeLessThan(diskBytes / 16)
  for (const taken of copied.takenBytes) expect(taken).toBeGreaterThan(diskBytes / 2)
  const longest = Math.max(...shared.captured.map(({ disksMs }) => disksMs))
  expect(longest).toBeLessThan(Math.min(...copied.captured.map(({ disksMs }) => disksMs)) / 4)
})
