import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Digest, referenceTo } from 'varve'
import { manifestToJson, mediaTypes } from 'varve/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { scriptedServer } from '../http/scripted-server.js'
import { removeRemote } from '../transfer/remove-remote.js'
import { type OpenRegistryOptions, openRegistry } from './open-registry.js'

// What registries do within their rights, and docker-registry does not.

const limits = { idleMs: 300, retryForMs: 1000, firstDelayMs: 5, maxDelayMs: 20 }
const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const bytes = Buffer.from('a blob')
const blob = { digest: digestOf(bytes), sizeBytes: bytes.length }
const id = 'a'.repeat(32)
const createdAt = '2026-01-02T03:04:05.678Z'

type Answer = Parameters<typeof scriptedServer>[0]

async function serving(answer: Answer) {
  const server = await scriptedServer(answer)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server
}

const open = (host: string, options: OpenRegistryOptions = {}) =>
  openRegistry(
    { kind: 'registry', host, repository: 'team/vms' },
    { limits, credential: async () => undefined, ...options },
  )

const me = { credential: async () => ({ kind: 'password', user: 'me', password: 'secret' }) as const }

test.each(['GET', 'HEAD'])(
  'a challenge of the place a %s is redirected to gets no password',
  async (method) => {
    const elsewhere = await serving((request, response) =>
      response
        .writeHead(401, { 'www-authenticate': `Bearer realm="http://${request.headers.host}/token"` })
        .end(),
    )
    const server = await serving((request, response) =>
      request.method === method
        ? response.writeHead(307, { location: `http://${elsewhere.host}/signed` }).end()
        : response.writeHead(200, { 'content-length': bytes.length }).end(),
    )
    const { blobs } = open(server.host, me)
    const reading = async () => {
      await using opened = await blobs.open(blob.digest)
      await opened.read({ offsetBytes: 0, lengthBytes: bytes.length })
    }
    await expect(reading()).rejects.toMatchObject({ code: 'PLACE_REFUSED', details: { status: 401 } })
    expect(elsewhere.requests.map(({ line, headers }) => [line, headers.authorization])).toEqual([
      [`${method} /signed`, undefined],
    ])
  },
)

/** A repository in memory. `first` may answer a request in its place, by giving true. */
async function repository(
  first: (request: IncomingMessage, response: ServerResponse, body: Buffer) => boolean = () => false,
) {
  const blobs = new Map<string, Buffer>()
  const tags = new Map<string, string>()
  const manifests = new Map<string, Buffer>()
  const put = (name: string, body: Buffer) => {
    const digest = digestOf(body)
    manifests.set(digest, body)
    if (!name.startsWith('sha256:')) tags.set(name, digest)
  }
  const server = await serving((request, response, body) => {
    if (first(request, response, body)) return
    const { method = '', headers } = request
    const url = new URL(request.url ?? '', 'http://here')
    const path = url.pathname.replace('/v2/team/vms/', '')
    const name = path.split('/').at(-1) as string
    const send = (found: Buffer | undefined) => {
      if (found === undefined) return response.writeHead(404).end()
      response.writeHead(200, { 'content-length': found.length })
      return response.end(method === 'HEAD' ? undefined : found)
    }
    if (path.startsWith('blobs/uploads/')) {
      if (method !== 'PUT') return response.writeHead(202, { location: '/v2/team/vms/blobs/uploads/1' }).end()
      blobs.set(url.searchParams.get('digest') as string, body)
      return response.writeHead(201).end()
    }
    if (path.startsWith('blobs/')) return send(blobs.get(name))
    if (path === 'tags/list') return response.end(JSON.stringify({ tags: [...tags.keys()] }))
    if (method === 'DELETE') return response.writeHead(405).end()
    const now = tags.get(name)
    if (method !== 'PUT') return send(manifests.get(now ?? name))
    const { 'if-none-match': none, 'if-match': match } = headers
    if ((none !== undefined && now !== undefined) || (match !== undefined && match !== `"${now}"`))
      return response.writeHead(412).end()
    put(name, body)
    return response.writeHead(201).end()
  })
  /** Puts the manifest of a snapshot, and gives what a reference to it says. */
  const addSnapshot = (note: string) => {
    const config = Buffer.from(JSON.stringify({ parent: null, note }))
    blobs.set(digestOf(config), config)
    const of = (mediaType: string) => ({ mediaType, digest: digestOf(config), size: config.length })
    const manifest = manifestToJson({
      id,
      createdAt,
      config: of(mediaTypes.config),
      layers: [of(mediaTypes.layer)],
      extentMap: of(mediaTypes.extentMap),
      state: of(mediaTypes.state),
      disks: [],
      workingSets: [],
      others: [],
    })
    put(digestOf(manifest), manifest)
    const { mediaType } = of(mediaTypes.manifest)
    const target = { mediaType, digest: digestOf(manifest), size: manifest.length }
    return { manifest, target: referenceTo({ id, parent: null, createdAt, manifest: target }) }
  }
  return { ...server, host: server.host, requests: server.requests, blobs, addSnapshot }
}

describe('a registry that deletes nothing', () => {
  test('has a removed tag that means nothing, and can mean something again', async () => {
    const registry = await repository()
    const { target } = registry.addSnapshot('one')
    const place = open(registry.host)
    expect(await place.refs.compareAndSet('latest', null, target)).toBe(true)
    await removeRemote(place, 'latest')
    expect(await place.refs.read('latest')).toBeUndefined()
    await expect(removeRemote(place, 'latest')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(await place.refs.compareAndSet('latest', target.digest, null)).toBe(false)
    expect(await place.refs.compareAndSet('latest', null, null)).toBe(true)
    expect(await place.refs.compareAndSet('latest', null, target)).toBe(true)
    expect(await place.refs.read('latest')).toEqual(target)
  })

  test('finds a removed snapshot no more by its id, until it is put there again', async () => {
    const registry = await repository()
    const { manifest, target } = registry.addSnapshot('one')
    const place = open(registry.host)
    await place.artifacts.putSnapshot(manifest, id)
    await removeRemote(place, id)
    expect(await place.artifacts.findSnapshot(id)).toBeUndefined()
    await expect(removeRemote(place, id)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await place.artifacts.putSnapshot(manifest, id)
    expect(await place.artifacts.findSnapshot(id)).toBe(target.digest)
  })
})

test.each([
  ['new', null],
  ['another one', 'one'],
])('a tag whose answer was lost is set, if it was %s', async (_, before) => {
  let lose = false
  const registry = await repository((request, response) => {
    if (!lose || request.method !== 'PUT') return false
    lose = false
    // The registry does it, and only the answer does not come.
    response.writeHead = () => response
    response.end = () => response.destroy()
    return false
  })
  const place = open(registry.host)
  const first = before === null ? undefined : registry.addSnapshot(before).target
  if (first !== undefined) await place.refs.compareAndSet('latest', null, first)
  const { target } = registry.addSnapshot('two')
  lose = true
  expect(await place.refs.compareAndSet('latest', first?.digest ?? null, target)).toBe(true)
  expect(lose).toBe(false)
  expect(await place.refs.read('latest')).toEqual(target)
})

test.each<[string, (response: ServerResponse) => void]>([
  [
    'comes late',
    (response) => {
      const end = response.end.bind(response)
      response.end = () => {
        setTimeout(end, 3 * limits.idleMs)
        return response
      }
    },
  ],
  [
    'is lost',
    (response) => {
      response.writeHead = () => response
      response.end = () => response.destroy()
    },
  ],
])('a blob is there if the last answer of its upload %s', async (_, answer) => {
  const registry = await repository((request, response) => {
    if (request.method === 'PUT') answer(response)
    return false
  })
  const { blobs } = open(registry.host)
  await blobs.put(blob, [bytes])
  expect(registry.blobs.get(blob.digest)).toEqual(bytes)
  expect(registry.requests.map(({ line }) => line.split(' ')[0]).filter((it) => it !== 'HEAD')).toEqual([
    'POST',
    'PUT',
  ])
})

test('a blob that may not be mounted is sent', async () => {
  const registry = await repository((request, response) => {
    if (request.url?.startsWith('/token')) {
      response.end(JSON.stringify({ token: 'of-team-vms-alone' }))
      return true
    }
    if (request.headers.authorization !== undefined && !request.url?.includes('mount=')) return false
    const realm = `http://${request.headers.host}/token`
    response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="x"` }).end()
    return true
  })
  const { blobs } = open(registry.host, { mountFrom: ['others/vms'] })
  await blobs.put(blob, [bytes])
  expect(registry.blobs.get(blob.digest)).toEqual(bytes)
  expect(registry.requests.filter(({ line }) => line.includes('mount=')).length).toBe(2)
})
