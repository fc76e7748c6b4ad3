import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LocalStore, openLocalStore, VarveError } from 'varve'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addSnapshot, pages, someplan } from '../support/store-world.js'

let directory: string
let store: LocalStore
/** One file of each kind, and the bytes in it to flip. */
let kinds: Record<string, { path: string; at: number; offset?: number }>

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-damage-'))
  store = await openLocalStore(join(directory, 'store'), { create: true })
  const base = await addSnapshot(store, someplan(1), { tags: ['base'] })
  await addSnapshot(store, someplan(2), { parent: base.id, tags: ['child'], disk: 'content' })
  const child = await store.describe('child')
  const path = (digest: string) => join(directory, 'store/blobs/sha256', digest.slice(7))
  const [bottom, top] = child.layers.map(({ digest }) => path(digest)) as [string, string]
  const footer = pages * 4096
  const zeroPage = someplan(1).indexOf(0)
  const dataPage = someplan(1).findIndex((byte) => byte !== 0 && byte !== undefined)
  kinds = {
    // The begin of the chunk is named; all data of these small layers is in one.
    'data page of a base': { path: bottom, at: dataPage * 4096 + 100, offset: dataPage * 4096 },
    'zero page of a base': { path: bottom, at: zeroPage * 4096 + 5, offset: zeroPage * 4096 + 5 },
    'data page of a child': { path: top, at: someplan(2).findIndex(Boolean) * 4096 + 9 },
    'runs of a footer': { path: top, at: footer + 4, offset: footer },
    'checksums of a footer': { path: bottom, at: statSync(bottom).size - 130, offset: footer },
    'trailer of a footer': { path: bottom, at: statSync(bottom).size - 60 },
    'extent map': { path: path(child.extentMap.digest), at: 40 },
    manifest: { path: path(child.entry.manifest.digest), at: 100 },
    config: { path: configPath(path(child.entry.manifest.digest)), at: 60 },
    state: { path: path(child.state.digest), at: 1000 },
    disk: { path: path(child.disks[0]?.digest as string), at: 8200 },
    'index.json': { path: join(directory, 'store/index.json'), at: 400 },
    'oci-layout': { path: join(directory, 'store/oci-layout'), at: 5 },
  }
})
afterAll(() => rmSync(directory, { recursive: true }))

const configPath = (manifest: string) => {
  const { config } = JSON.parse(readFileSync(manifest, 'utf8')) as { config: { digest: string } }
  return join(directory, 'store/blobs/sha256', config.digest.slice(7))
}

/** Opens the store and the snapshot as a restore does. */
async function restoreWould(ref: string): Promise<VarveError | 'restores'> {
  try {
    const opened = await openLocalStore(join(directory, 'store'))
    const snapshot = await opened.open(ref)
    await snapshot[Symbol.asyncDispose]()
    return 'restores'
  } catch (error) {
    if (error instanceof VarveError) return error
    throw error
  }
}

async function fsckSays(
  path: string,
): Promise<{ offset: number | undefined; snapshots: readonly string[] }[]> {
  try {
    const { findings } = await (await openLocalStore(join(directory, 'store'))).fsck()
    return findings
      .filter((finding) => finding.severity === 'error' && finding.path === path)
      .map(({ offset, snapshots }) => ({ offset, snapshots }))
  } catch (error) {
    // A directory that is no store any more cannot be checked: opening it says why.
    const { details } = error as VarveError
    return details.path === path ? [{ offset: details.offset as number, snapshots: [] }] : []
  }
}

function flip(path: string, at: number): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, Buffer.of((readFileSync(path)[at] as number) ^ 0x04), 0, 1, at)
  closeSync(fd)
}

const named = [
  'data page of a base',
  'zero page of a base',
  'data page of a child',
  'runs of a footer',
  'checksums of a footer',
  'trailer of a footer',
  'extent map',
  'manifest',
  'config',
  'state',
  'disk',
  'index.json',
  'oci-layout',
]

describe.each(named)('%s', (kind) => {
  test('a flipped bit is refused by a restore and found by fsck, with file and offset', async () => {
    const { path, at, offset } = kinds[kind] as (typeof kinds)[string]
    expect(await restoreWould('child')).toBe('restores')
    flip(path, at)
    try {
      const refused = await restoreWould('child')
      expect(refused).toBeInstanceOf(VarveError)
      const { details, code } = refused as VarveError
      expect(['CHECKSUM_MISMATCH', 'FORMAT_INVALID', 'FORMAT_UNSUPPORTED']).toContain(code)
      expect(details.path).toBe(path)
      expect(details.offset).toBeTypeOf('number')
      if (offset !== undefined) expect(details.offset).toBe(offset)
      const found = await fsckSays(path)
      expect(found.length).toBeGreaterThan(0)
      expect(found[0]?.offset).toBeTypeOf('number')
      if (path.includes('sha256')) expect(found[0]?.snapshots.length).toBeGreaterThan(0)
    } finally {
      flip(path, at)
    }
    expect(await fsckSays(path)).toEqual([])
    expect(await restoreWould('child')).toBe('restores')
  })

  test('a truncation is refused by a restore and found by fsck', async () => {
    const { path } = kinds[kind] as (typeof kinds)[string]
    const whole = readFileSync(path)
    for (const size of [whole.length - 1, Math.floor(whole.length / 2), 0]) {
      truncateSync(path, size)
      try {
        const refused = await restoreWould('child')
        expect(refused, `${size} bytes`).toBeInstanceOf(VarveError)
        expect((refused as VarveError).details.path).toBe(path)
        expect((await fsckSays(path)).length).toBeGreaterThan(0)
      } finally {
        writeFileSync(path, whole)
      }
    }
    expect(await restoreWould('child')).toBe('restores')
    expect(await fsckSays(path)).toEqual([])
  })
})

test('bits that change without a write are found by fsck, and refused from then on', async () => {
  const { path, at } = kinds['data page of a child'] as (typeof kinds)[string]
  expect(await restoreWould('child')).toBe('restores')
  const { atime, mtimeMs } = statSync(path)
  // A failing disk leaves size, time and inode alone. Only whole milliseconds can be
  // set from here: set them first.
  utimesSync(path, atime, Math.floor(mtimeMs) / 1000)
  expect(await restoreWould('child')).toBe('restores')
  flip(path, at)
  utimesSync(path, atime, Math.floor(mtimeMs) / 1000)
  expect(await restoreWould('child')).toBe('restores')
  expect(await fsckSays(path)).toHaveLength(1)
  expect(await restoreWould('child')).toMatchObject({ code: 'CHECKSUM_MISMATCH' })
  flip(path, at)
  expect(await restoreWould('child')).toBe('restores')
})

test('a missing blob is named, with the snapshots that need it', async () => {
  const { path } = kinds['data page of a base'] as (typeof kinds)[string]
  const whole = readFileSync(path)
  rmSync(path)
  expect(await restoreWould('child')).toMatchObject({ code: 'NOT_FOUND', details: { path } })
  const [finding] = await fsckSays(path)
  expect(finding?.snapshots).toHaveLength(2)
  writeFileSync(path, whole, { mode: 0o600 })
  expect(await restoreWould('child')).toBe('restores')
})

test('every flipped byte and truncation of an archive is refused, or changes nothing that counts', async () => {
  const archive = join(directory, 'child.tar')
  await store.exportTo(['child'], archive)
  const whole = readFileSync(archive)
  const damaged = join(directory, 'damaged.tar')
  const target = await openLocalStore(join(directory, 'target'), { create: true })
  let refused = 0
  let harmless = 0
  const step = Math.floor(whole.length / 150)
  for (let at = 3; at < whole.length; at += step) {
    const bytes = Buffer.from(whole)
    bytes[at] = (bytes[at] as number) ^ 0x10
    writeFileSync(damaged, bytes)
    const error = await target.importFrom(damaged).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    if (error === undefined) harmless++
    else {
      expect(error).toBeInstanceOf(VarveError)
      refused++
    }
    await target.removeSnapshot('child').catch(() => {})
    await target.gc()
  }
  // Harmless are bits of padding and of the times in headers.
  expect(refused).toBeGreaterThan(100)
  expect(harmless).toBeLessThan(40)
  for (const size of [0, 511, 512, 5000, whole.length >> 1, whole.length - 2000]) {
    writeFileSync(damaged, whole.subarray(0, size))
    await expect(target.importFrom(damaged)).rejects.toBeInstanceOf(VarveError)
  }
  expect(await target.list()).toEqual([])
  await target.gc()
  expect((await target.fsck()).findings).toEqual([])
}, 120_000)
