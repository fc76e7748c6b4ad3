import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { flattenSnapshot, type LocalStore, openLocalStore } from 'varve'
import { packLayer, readLayer } from 'varve/layers'
// The change observer and the leases are no part of the public surface.
import { leaseToSelf, lockDescriptor, type Mutation, observeMutations } from 'varve/testing'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { addSnapshot, imageOf, readImage, someplan } from '../support/store-world.js'

let directory: string
let store: LocalStore
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-gc-'))
  store = await openLocalStore(join(directory, 'store'), { create: true })
})
afterEach(() => {
  observeMutations(undefined)
  rmSync(directory, { recursive: true, force: true })
})

/** Acts once, before the first change of a kind. */
function atFirst(is: (mutation: Mutation) => boolean, act: () => void): void {
  let done = false
  observeMutations((mutation) => {
    if (done || !is(mutation)) return
    done = true
    act()
  })
}

const isSetAside = ({ kind, path }: Mutation) => kind === 'rename' && path.includes('/varve/garbage/')

/** Another division into layers for the same image. Gives the manifest that is replaced by it. */
async function pack(ref: string) {
  const { manifest } = await store.resolve(ref)
  await using snapshot = await store.open(ref)
  await using staging = await store.stage()
  const path = join(staging.directory, 'packed')
  const [base] = snapshot.files
  await packLayer(await readLayer(base?.path as string), path, { layout: 'packed' })
  await store.relayer(ref, [{ path }])
  return manifest.digest
}

test('copies of disks that do not say whose they are stay, and are named', async () => {
  const unknown = join(store.repository.paths.clones, 'varve-an-old-one-0123456789ab')
  mkdirSync(unknown, { mode: 0o700 })
  writeFileSync(join(unknown, 'disk-data'), 'what a guest wrote')
  for (const dryRun of [true, false]) {
    const report = await store.gc({ dryRun })
    expect(report).toMatchObject({ removedClones: 0, unknownClones: [unknown] })
  }
  expect(readdirSync(unknown)).toEqual(['disk-data'])
})

describe('a lease that appears while gc puts blobs aside', () => {
  test('keeps the blobs of the manifest that it names, which its snapshot has no more', async () => {
    const { id } = await addSnapshot(store, someplan(1), { tags: ['base'] })
    const { layers } = await store.describe('base')
    const before = await pack('base')
    atFirst(isSetAside, () => leaseToSelf(store.repository.paths.leases, id, before))
    await store.gc()
    for (const digest of [before, layers[0]?.digest as string])
      expect(existsSync(join(store.repository.paths.blobs, digest.slice(7))), digest).toBe(true)
  })

  test('keeps its snapshot, its reference and its flat file', async () => {
    const { id, manifest } = await addSnapshot(store, someplan(1))
    const child = await addSnapshot(store, someplan(2), { parent: id })
    {
      await using snapshot = await store.open(child.id)
      await flattenSnapshot(snapshot)
    }
    expect(manifest.digest).not.toBe(child.manifest.digest)
    atFirst(isSetAside, () => leaseToSelf(store.repository.paths.leases, child.id, child.manifest.digest))
    expect((await store.gc()).removedSnapshots).toEqual([id])
    observeMutations(undefined)
    expect(await readImage(store, child.id, directory)).toEqual(imageOf([someplan(1), someplan(2)]))
    expect(existsSync(join(store.repository.paths.flat, child.id))).toBe(true)
    expect((await store.fsck()).findings).toEqual([])
  })
})

/** An archive of a snapshot that leaves out one layer: the store that takes it has that already. */
async function thinArchive(ref: string, without: string): Promise<string> {
  const [whole, unpacked, thin] = ['whole.tar', 'unpacked', 'thin.tar'].map((it) => join(directory, it)) as [
    string,
    string,
    string,
  ]
  await store.exportTo([ref], whole)
  mkdirSync(unpacked)
  execFileSync('tar', ['xf', whole, '-C', unpacked])
  rmSync(join(unpacked, 'blobs/sha256', without.slice(7)))
  execFileSync('tar', ['--format=ustar', '-cf', thin, '-C', unpacked, 'oci-layout', 'index.json', 'blobs'])
  return thin
}

test('an import whose blobs a gc takes away meanwhile says so, and changes nothing', async () => {
  await addSnapshot(store, someplan(1), { tags: ['base'] })
  const layer = (await store.describe('base')).layers[0]?.digest as string
  const thin = await thinArchive('base', layer)
  await store.importFrom(thin)
  await store.removeSnapshot('base')
  // Everything is hashed when the fourth file is synced; gc is faster to the lock then.
  let synced = 0
  let held: number | undefined
  observeMutations(({ kind, path }) => {
    if (kind !== 'fsync' || !path.includes('/varve/staging/') || ++synced !== 4) return
    held = openSync(store.repository.paths.lock, 'r+')
    expect(lockDescriptor(held, store.repository.paths.lock)).toBe(true)
  })
  const onProgress = (message: string) => {
    if (!message.includes('waiting') || held === undefined) return
    renameSync(
      join(store.repository.paths.blobs, layer.slice(7)),
      join(store.repository.paths.garbage, layer.slice(7)),
    )
    closeSync(held)
    held = undefined
  }
  const before = await store.list()
  await expect(store.importFrom(thin, { onProgress })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining(layer.slice(7)),
    remedy: expect.any(String),
  })
  observeMutations(undefined)
  expect(synced).toBe(4)
  expect(await store.list()).toEqual(before)
})

test('a writer gets the lock of the store while gc is at work on many blobs', async () => {
  for (let blob = 0; blob < 3000; blob++)
    writeFileSync(join(store.repository.paths.blobs, blob.toString(16).padStart(64, '0')), '')
  const happened: string[] = []
  let writing: Promise<void> | undefined
  observeMutations((mutation) => {
    if (!isSetAside(mutation)) return
    happened.push('set aside')
    writing ??= store.repository.locked(async () => void happened.push('written'))
  })
  expect((await store.gc()).removedBlobs).toBe(3000)
  await writing
  expect(happened.filter((it) => it === 'set aside').length).toBe(3000)
  expect(happened.indexOf('written')).toBeLessThan(3000)
}, 60_000)

describe('directories of a store', () => {
  const own = [
    '.',
    'blobs',
    'blobs/sha256',
    'varve',
    ...['staging', 'leases', 'garbage'].map((it) => `varve/${it}`),
  ]
  const all = [...own, ...['verified', 'flat', 'clones'].map((it) => `varve/${it}`)]

  test.each(all)('%s as a link is refused, and nothing that it leads to is removed or made', async (name) => {
    const precious = join(directory, 'precious')
    mkdirSync(join(precious, 'deep'), { recursive: true, mode: 0o700 })
    writeFileSync(join(precious, 'deep/file'), 'precious')
    writeFileSync(join(precious, 'file'), 'precious')
    const path = join(store.location, name)
    rmSync(path, { recursive: true })
    symlinkSync(precious, path)
    const work = async () => (await openLocalStore(store.location, { create: true })).gc()
    await expect(work()).rejects.toMatchObject({ code: 'PATH_INVALID' })
    // Replaced while a process has the store open.
    await store.gc().catch(() => {})
    expect(readdirSync(precious, { recursive: true }).sort()).toEqual(['deep', 'deep/file', 'file'])
  })

  test.each(all)('%s that others may use is refused, with the command that mends it', async (name) => {
    const path = join(store.location, name)
    chmodSync(path, 0o777)
    await expect(openLocalStore(store.location)).rejects.toMatchObject({
      code: 'PATH_INVALID',
      remedy: expect.stringMatching(/^chmod 700 /),
    })
    chmodSync(path, 0o700)
    await openLocalStore(store.location)
  })

  test.skipIf(process.geteuid?.() !== 0)('of another user are refused, by root too', async () => {
    for (const name of ['.', 'blobs', 'varve/flat']) {
      chownSync(join(store.location, name), 65534, 65534)
      await expect(openLocalStore(store.location)).rejects.toMatchObject({
        code: 'PATH_INVALID',
        message: expect.stringContaining('65534'),
      })
      chownSync(join(store.location, name), 0, 0)
    }
    await openLocalStore(store.location)
  })
})

test('a staging that cannot be removed gives its lock back all the same', async () => {
  const staging = await store.stage()
  observeMutations(({ kind }) => {
    if (kind === 'rmdir') throw new Error('it cannot be removed')
  })
  await expect(staging[Symbol.asyncDispose]()).rejects.toThrow('it cannot be removed')
  observeMutations(undefined)
  expect((await store.gc()).removedStaging).toBe(1)
  expect(readdirSync(store.repository.paths.staging)).toEqual([])
})
