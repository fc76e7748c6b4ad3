import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FsckFinding, flattenSnapshot, type LocalStore, openLocalStore } from 'varve'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addSnapshot, imageOf, readImage, someplan } from '../support/store-world.js'

let directory: string
let store: LocalStore
let archive: string
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-heals-'))
  archive = join(directory, 'all.tar')
  store = await openLocalStore(join(directory, 'store'), { create: true })
  const base = await addSnapshot(store, someplan(1), { tags: ['base'] })
  await addSnapshot(store, someplan(2), { parent: base.id, tags: ['child'], disk: 'content' })
  await store.exportTo(['base', 'child'], archive)
  // Every blob is known to be right: a restore reads none of them in full any more.
  await using _opened = await store.open('child')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const blob = (digest: string) => join(store.repository.paths.blobs, digest.slice(7))

/** The files of the child, by what they are. */
async function files(): Promise<Record<string, string>> {
  const { entry, layers, extentMap, state, disks } = await store.describe('child')
  const { manifest } = await store.repository.readManifest(entry)
  const [base, own] = layers.map(({ digest }) => blob(digest)) as [string, string]
  return {
    'layer of the base': base,
    'own layer': own,
    manifest: blob(entry.manifest.digest),
    config: blob(manifest.config.digest),
    map: blob(extentMap.digest),
    state: blob(state.digest),
    disk: blob(disks[0]?.digest as string),
  }
}

/** As a failing disk does it: time and size stay. */
function flip(path: string): void {
  const { atime, mtime, size } = statSync(path)
  const fd = openSync(path, 'r+')
  const at = Math.floor(size / 3)
  writeSync(fd, Buffer.of((readFileSync(path)[at] as number) ^ 0x10), 0, 1, at)
  closeSync(fd)
  utimesSync(path, atime, mtime)
}

const damages: Record<string, (path: string) => void> = {
  'with a flipped bit': flip,
  'that is missing': (path) => rmSync(path),
  'that was cut off': (path) => truncateSync(path, 10),
  'with a directory in its place': (path) => {
    rmSync(path)
    mkdirSync(path)
    writeFileSync(join(path, 'file'), '')
  },
  'with a link in its place': (path) => {
    copyFileSync(path, join(directory, 'elsewhere'))
    rmSync(path)
    symlinkSync(join(directory, 'elsewhere'), path)
  },
}

async function errors(): Promise<readonly FsckFinding[]> {
  return (await store.fsck()).findings.filter(({ severity }) => severity === 'error')
}

async function assertWhole(): Promise<void> {
  expect((await store.fsck()).findings).toEqual([])
  expect(await readImage(store, 'child', directory)).toEqual(imageOf([someplan(1), someplan(2)]))
}

const kinds = ['layer of the base', 'own layer', 'manifest', 'config', 'map', 'state', 'disk']

describe.each(kinds)('%s', (kind) => {
  test.each(Object.keys(damages))(
    '%s: an import heals it, and so does a removal, as fsck says',
    async (damage) => {
      const harm = async () => (damages[damage] as (path: string) => void)((await files())[kind] as string)
      const whole = await files()
      await harm()
      const found = await errors()
      expect(found.length).toBeGreaterThan(0)
      for (const { remedy, snapshots } of found) {
        expect(remedy).toMatch(/import the snapshots? again/)
        expect(snapshots.length).toBeGreaterThan(0)
      }
      await store.importFrom(archive)
      await assertWhole()
      expect(await files()).toEqual(whole)

      await harm()
      const named = new Set(
        (await errors()).flatMap(({ remedy, snapshots }) => (/or remove/.test(remedy) ? snapshots : [])),
      )
      expect(named.size).toBeGreaterThan(0)
      for (const id of named) await store.removeSnapshot(id)
      await store.gc()
      expect((await store.fsck()).findings).toEqual([])
    },
  )
})

test('an import heals a flipped bit that no fsck has found yet', async () => {
  flip((await files())['own layer'] as string)
  await store.importFrom(archive)
  await assertWhole()
})

test('a snapshot that names another map is replaced by that of the archive', async () => {
  const [base, child] = [await store.describe('base'), await store.describe('child')]
  const { manifest } = await store.repository.readManifest(child.entry)
  {
    await using staging = await store.stage()
    const wrong = { ...manifest, extentMap: base.extentMap }
    await store.repository.publish(staging, wrong, [], {}, async (_index, descriptor) => ({
      ...child.entry,
      manifest: descriptor,
    }))
  }
  const [found] = await errors()
  expect(found).toMatchObject({ code: 'FORMAT_INVALID', snapshots: [child.entry.id] })
  expect(found?.remedy).toMatch(/import the snapshots again/)
  await store.importFrom(archive)
  await store.gc()
  await assertWhole()
})

test('a working set that was kept since the export stays, though the base was healed', async () => {
  const { entry, config } = await store.describe('child')
  const empty = { starts: new Uint32Array(), counts: new Uint32Array(), pages: 0 }
  await store.saveWorkingSet('child', 'later', {
    image: entry.id,
    pages: config.memoryPages,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: empty,
    written: empty,
    groups: [],
    notes: {},
  })
  flip((await files())['layer of the base'] as string)
  await store.importFrom(archive)
  await store.gc()
  await assertWhole()
  expect((await store.describe('child')).workingSets.map(({ name }) => name)).toEqual(['later'])
})

test('a damaged index is mended by a copy of it, as fsck says', async () => {
  const copy = readFileSync(store.repository.paths.index)
  flip(store.repository.paths.index)
  const [found] = await errors()
  expect(found?.remedy).toMatch(/^take index.json from a backup/)
  writeFileSync(store.repository.paths.index, copy)
  await assertWhole()
})

test('what fsck says gc removes is gone after a gc', async () => {
  {
    await using snapshot = await store.open('child')
    await flattenSnapshot(snapshot)
  }
  const own = (name: string) => join(store.location, 'varve', name)
  writeFileSync(join(store.repository.paths.blobs, 'ab'.repeat(32)), 'in no snapshot')
  writeFileSync(own(`garbage/${'cd'.repeat(32)}`), 'put aside')
  mkdirSync(own('staging/0123456789abcdef'), { mode: 0o700 })
  writeFileSync(own('leases/0123456789abcdef.json'), '{}')
  writeFileSync(own(`flat/${'ef'.repeat(16)}`), '')
  for (const name of ['../index.json', 'leases/x.json', 'verified/y'])
    writeFileSync(own(`${name}.tmp-0123456789ab`), '')
  const { findings } = await store.fsck()
  expect(findings.map(({ remedy }) => remedy)).toEqual(findings.map(() => 'varve gc removes it'))
  expect(findings.length).toBe(8)
  await store.gc()
  await assertWhole()
})
