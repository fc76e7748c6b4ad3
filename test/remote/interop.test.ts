import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openRegistry, pullSnapshot, pushSnapshot } from '@varve/remote'
import { scriptedServer } from '@varve/remote/testing'
import { type LocalStore, openLocalStore } from 'varve'
import { emptyPageSet, pageRange } from 'varve/working-sets'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { blobOf } from '../support/blob-source-suite.js'
import { countingProxy } from '../support/counting-proxy.js'
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.js'
import { addSnapshot, pages, someplan } from '../support/store-world.js'

// What others do with pushed snapshots, and what a registry and the way to it do to a push.
let registry: DockerRegistry
let directory: string
let store: LocalStore
beforeAll(async () => {
  registry = await startDockerRegistry()
  directory = mkdtempSync(join(tmpdir(), 'varve-interop-'))
  store = await openLocalStore(join(directory, 'store'), { create: true })
  await addSnapshot(store, someplan(1), { tags: ['web'], disk: 'a disk' })
})
afterAll(async () => {
  await registry[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

const repository = (name: string, options = {}) =>
  openRegistry({ kind: 'registry', host: registry.host, repository: name }, options)
const skopeo = async (...args: string[]) =>
  (await promisify(execFile)('skopeo', args, { maxBuffer: 2 ** 24 })).stdout

test('skopeo lists, inspects and copies a pushed snapshot, and the copy is pulled', async () => {
  const pushed = await pushSnapshot(store, 'web', repository('team/vms'), { tag: 'monday' })
  const name = `docker://${registry.host}/team/vms`
  const { Tags } = JSON.parse(await skopeo('list-tags', '--tls-verify=false', name))
  expect(Tags.sort()).toEqual([pushed.id, 'monday'].sort())
  const raw = await skopeo('inspect', '--raw', '--tls-verify=false', `${name}:monday`)
  expect(blobOf(Buffer.from(raw)).digest).toBe(pushed.manifest)
  expect(JSON.parse(raw)).toMatchObject({ artifactType: 'application/vnd.varve.snapshot.v1' })
  await skopeo(
    'copy',
    ...['--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests'],
    `${name}:monday`,
    `docker://${registry.host}/other/place:copied`,
  )
  const other = await openLocalStore(join(directory, 'copied'), { create: true })
  expect((await pullSnapshot(repository('other/place'), 'copied', other)).entry.id).toBe(pushed.id)
  expect((await other.fsck()).findings).toEqual([])
})

test('a blob of another repository is mounted, not sent', async () => {
  const first = await pushSnapshot(store, 'web', repository('mount/from'))
  const sent: string[] = []
  const counting = await countingProxy(registry.host, (line) => sent.push(line))
  onTestFinished(() => counting[Symbol.asyncDispose]())
  const place = openRegistry(
    { kind: 'registry', host: counting.host, repository: 'mount/to' },
    { mountFrom: ['mount/none', 'mount/from'] },
  )
  const second = await pushSnapshot(store, 'web', place)
  expect(second.manifest).toBe(first.manifest)
  // The manifest, and no blob.
  expect(sent.filter((line) => /^(PUT|PATCH)/.test(line))).toEqual([`PUT /v2/mount/to/manifests/${first.id}`])
})

test('a push whose connection is cut begins the blob again, and comes to its end', async () => {
  let cuts = 0
  const cutting = await countingProxy(registry.host, (line, cut) => {
    if (line.startsWith('PATCH') && cuts++ === 0) cut(20_000)
  })
  onTestFinished(() => cutting[Symbol.asyncDispose]())
  const place = openRegistry(
    { kind: 'registry', host: cutting.host, repository: 'cut/here' },
    { chunkBytes: 30_000 },
  )
  const { id } = await pushSnapshot(store, 'web', place, { tag: 'monday' })
  expect(cuts).toBeGreaterThan(3)
  const other = await openLocalStore(join(directory, 'after-cut'), { create: true })
  expect((await pullSnapshot(repository('cut/here'), 'monday', other)).entry.id).toBe(id)
})

test('an upload that is cut goes on where it was, if the registry says how far that is', async () => {
  const bytes = randomBytes(100_000)
  let taken = Buffer.alloc(0)
  let cuts = 0
  const session = { location: '/v2/team/vms/blobs/uploads/1' }
  const server = await scriptedServer((request, response, body) => {
    const range = { range: `0-${Math.max(0, taken.length - 1)}` }
    if (request.method === 'HEAD') return response.writeHead(404).end()
    if (request.method === 'POST') return response.writeHead(202, session).end()
    if (request.method === 'GET') return response.writeHead(204, { ...session, ...range }).end()
    if (request.method === 'PUT') return response.writeHead(201).end()
    const isCut = cuts++ % 2 === 0
    taken = Buffer.concat([taken, isCut ? body.subarray(0, 11_000) : body])
    return isCut ? response.destroy() : response.writeHead(202, { ...session, ...range }).end()
  })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const { blobs } = openRegistry(
    { kind: 'registry', host: server.host, repository: 'team/vms' },
    { chunkBytes: 30_000, credential: async () => undefined },
  )
  await blobs.put(blobOf(bytes), [bytes])
  expect(bytes.equals(taken)).toBe(true)
  // Three chunks of 30,000 bytes twice each; of the last one, all had arrived.
  expect(cuts).toBe(7)
})

test('a registry’s garbage collection keeps what ids and references name', async () => {
  const place = repository('gc/vms')
  const { id } = await store.resolve('web')
  await store.saveWorkingSet('web', 'hello', {
    image: id,
    pages,
    recordedAtMs: 1,
    windowMs: 2,
    readOnly: pageRange(0, 3),
    written: emptyPageSet,
    groups: [],
    notes: {},
  })
  await pushSnapshot(store, 'web', place, { tag: 'monday' })
  await registry.collectGarbage()
  const other = await openLocalStore(join(directory, 'after-gc'), { create: true })
  expect((await pullSnapshot(place, 'monday', other)).entry.id).toBe(id)
  expect(await other.readWorkingSet(id, 'hello')).toEqual(await store.readWorkingSet('web', 'hello'))
})
