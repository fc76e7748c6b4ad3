import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LocalStore, openLocalStore } from 'varve'
// The file formats are no part of the public surface.
import {
  hashBytes,
  indexToJson,
  type Mutation,
  manifestToJson,
  observeMutations,
  type SnapshotManifest,
} from 'varve/testing'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { addSnapshot, someplan } from '../support/store-world.js'

const tib = 2 ** 40

let directory: string
let target: LocalStore
let manifest: SnapshotManifest
let changes: Mutation[]
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-bombs-'))
  const source = await openLocalStore(join(directory, 'source'), { create: true })
  const entry = await addSnapshot(source, someplan(1), { tags: ['base'], disk: 'content' })
  manifest = (await source.repository.readManifest(entry)).manifest
  await source.exportTo(['base'], join(directory, 'whole.tar'))
  mkdirSync(oci())
  execFileSync('tar', ['xf', join(directory, 'whole.tar'), '-C', oci()])
  target = await openLocalStore(join(directory, 'target'), { create: true })
  changes = []
})
afterEach(() => {
  observeMutations(undefined)
  rmSync(directory, { recursive: true, force: true })
})

const oci = () => join(directory, 'oci')
const blob = (digest: string) => join(oci(), 'blobs/sha256', digest.slice(7))

/** Another manifest for the snapshot in the unpacked archive. */
function rewrite(changed: SnapshotManifest): void {
  const bytes = manifestToJson(changed)
  const digest = hashBytes(bytes)
  writeFileSync(blob(digest), bytes)
  const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: bytes.length }
  const { id, createdAt } = changed
  const entry = { id, parent: null, tags: ['base'], createdAt, manifest: descriptor }
  writeFileSync(join(oci(), 'index.json'), indexToJson({ snapshots: [entry], foreign: [] }))
}

/** Packs the archive anew, holes as holes, and imports it. */
async function importAgain(): Promise<unknown> {
  const path = join(directory, 'bomb.tar')
  execFileSync('tar', [
    '--sparse',
    '--format=pax',
    '-cf',
    path,
    '-C',
    oci(),
    'oci-layout',
    'index.json',
    'blobs',
  ])
  observeMutations((mutation) => void changes.push(mutation))
  return await target.importFrom(path).then(
    () => 'imported',
    (error: unknown) => error,
  )
}

async function assertRefused(refusal: unknown, code: string, message: RegExp): Promise<void> {
  expect(refusal).toMatchObject({ code, message: expect.stringMatching(message) })
  observeMutations(undefined)
  expect(await target.list()).toEqual([])
  expect(readdirSync(target.repository.paths.blobs)).toEqual([])
  expect(readdirSync(target.repository.paths.staging)).toEqual([])
}

test('an archive that was packed by another tar is taken', async () => {
  expect(await importAgain()).toBe('imported')
  expect((await target.fsck()).findings).toEqual([])
})

test('one layer named 400 times is refused before it is read', async () => {
  const [layer] = manifest.layers
  rewrite({ ...manifest, layers: Array.from({ length: 400 }, () => layer as typeof manifest.state) })
  await assertRefused(await importAgain(), 'FORMAT_INVALID', /layers is "sha256:.*named once/)
  const name = layer?.digest.slice(7) as string
  expect(changes.filter(({ path }) => path.endsWith(name))).toEqual([])
})

test('a blob with a hole of 2 TiB, said to have a few bytes, is refused before it is written', async () => {
  const { digest } = manifest.state
  truncateSync(blob(digest), 2 * tib)
  const name = digest.slice(7)
  await assertRefused(
    await importAgain(),
    'CHECKSUM_MISMATCH',
    new RegExp(`${name}.*has ${2 * tib} bytes, .*says`),
  )
  expect(changes.filter(({ path }) => path.endsWith(name))).toEqual([])
})

test('a blob with a hole of 2 TiB that no snapshot names is refused before it is written', async () => {
  const name = '77'.repeat(32)
  writeFileSync(blob(`sha256:${name}`), 'a')
  truncateSync(blob(`sha256:${name}`), 2 * tib)
  await assertRefused(
    await importAgain(),
    'CHECKSUM_MISMATCH',
    new RegExp(`${name}.*sparse.*no snapshot names it`),
  )
  expect(changes.filter(({ path }) => path.endsWith(name))).toEqual([])
})

test('a disk that truly has 2 TiB of hole, as its descriptor says, is refused before it is written', async () => {
  const [disk] = manifest.disks
  const digest = disk?.digest as string
  truncateSync(blob(digest), 2 * tib)
  rewrite({ ...manifest, disks: [{ ...(disk as typeof manifest.state), size: 2 * tib }] })
  await assertRefused(await importAgain(), 'FORMAT_UNSUPPORTED', /more than 1024 GiB of holes/)
  expect(changes.filter(({ path }) => path.endsWith(digest.slice(7)))).toEqual([])
})

test('a layer with more bytes than its image can have is refused before it is written', async () => {
  const [layer] = manifest.layers
  const digest = layer?.digest as string
  truncateSync(blob(digest), 2 ** 30)
  rewrite({ ...manifest, layers: [{ ...(layer as typeof manifest.state), size: 2 ** 30 }] })
  await assertRefused(await importAgain(), 'CHECKSUM_MISMATCH', /cannot have the 1073741824 bytes/)
  expect(changes.filter(({ path }) => path.endsWith(digest.slice(7)))).toEqual([])
})

test('a map that is said to have 2 TiB, and has, is refused before it is written', async () => {
  const { digest } = manifest.extentMap
  truncateSync(blob(digest), 2 * tib)
  rewrite({ ...manifest, extentMap: { ...manifest.extentMap, size: 2 * tib } })
  await assertRefused(await importAgain(), 'CHECKSUM_MISMATCH', /cannot have the 2199023255552 bytes/)
  expect(changes.filter(({ path }) => path.endsWith(digest.slice(7)))).toEqual([])
})

test('a descriptor that lies about the pages of its layer is refused', async () => {
  const [layer] = manifest.layers
  const annotations = { ...layer?.annotations, 'dev.varve.data-pages': '1' }
  rewrite({ ...manifest, layers: [{ ...(layer as typeof manifest.state), annotations }] })
  await assertRefused(await importAgain(), 'IMAGE_MISMATCH', /data-pages "1", the layer \d+/)
})
