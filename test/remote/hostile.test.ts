import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { openBucket, openRegistry, type RemotePlace } from '@varve/remote'
import { scriptedServer } from '@varve/remote/testing'
import type { Digest } from 'varve'
import { expect, onTestFinished, test } from 'vitest'
import { blobOf, collected } from '../support/blob-source-suite.js'

// Servers that lie, never end or never answer: each call ends soon, with the reason, and with little memory.
const limits = { idleMs: 300, minBytesPerSecond: 100_000, retryForMs: 200, firstDelayMs: 5, maxDelayMs: 50 }
const bytes = randomBytes(100_000)
const { digest } = blobOf(bytes)

type Answer = Parameters<typeof scriptedServer>[0]

async function registry(
  answer: Answer,
): Promise<RemotePlace & { server: Awaited<ReturnType<typeof scriptedServer>> }> {
  const server = await scriptedServer(answer)
  onTestFinished(() => server[Symbol.asyncDispose]())
  const place = openRegistry(
    { kind: 'registry', host: server.host, repository: 'team/vms' },
    { limits, credential: async () => undefined },
  )
  return { ...place, server }
}

/** Says that the blob is there, then answers a GET as `get` does. */
const withBlob =
  (get: (response: ServerResponse) => unknown): Answer =>
  (request, response) =>
    request.method === 'HEAD'
      ? response.writeHead(200, { 'content-length': bytes.length }).end()
      : get(response)

async function readAll({ blobs }: RemotePlace, of: Digest = digest): Promise<Uint8Array> {
  await using blob = await blobs.open(of)
  return blob.read({ offsetBytes: 0, lengthBytes: blob.sizeBytes })
}

const range = { 'content-range': `bytes 0-${bytes.length - 1}/${bytes.length}` }

test.each<[string, string, (response: ServerResponse) => unknown]>([
  [
    'a body that ends early, again and again',
    'PLACE_UNREACHABLE',
    (it) => {
      it.writeHead(206, { ...range, 'content-length': bytes.length }).flushHeaders()
      setTimeout(() => it.destroy(), 5)
    },
  ],
  [
    'a body of fewer bytes than asked for',
    'PLACE_REFUSED',
    (it) => it.writeHead(206, { ...range, 'content-length': 10 }).end(bytes.subarray(0, 10)),
  ],
  [
    'another range than asked for',
    'PLACE_REFUSED',
    (it) => it.writeHead(206, { 'content-range': 'bytes 5-9/100000' }).end(bytes.subarray(5, 10)),
  ],
  ['a body that never comes', 'PLACE_UNREACHABLE', (it) => it.writeHead(206, range).flushHeaders()],
  [
    'a body that comes byte by byte',
    'PLACE_UNREACHABLE',
    async (it) => {
      it.writeHead(206, range)
      while (!it.destroyed) {
        it.write('x')
        await delay(20)
      }
    },
  ],
  ['an answer that never comes', 'PLACE_UNREACHABLE', () => undefined],
  [
    'headers of 40 KB',
    'PLACE_REFUSED',
    (it) => it.writeHead(206, { ...range, 'x-long': 'a'.repeat(40_000) }).end(bytes),
  ],
  [
    'an error with a long story',
    'PLACE_REFUSED',
    (it) =>
      it.writeHead(403).end(JSON.stringify({ errors: [{ code: 'DENIED', message: 'x'.repeat(100_000) }] })),
  ],
  ['an overloaded server', 'PLACE_UNREACHABLE', (it) => it.writeHead(503, { 'retry-after': '3600' }).end()],
])('%s is %s, within 3 s', async (_, code, get) => {
  const place = await registry(withBlob(get))
  const start = performance.now()
  await expect(readAll(place)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(/^.{20,600}$/),
  })
  expect(performance.now() - start).toBeLessThan(3000)
})

test('a body that never ends is cut at the end of the range', async () => {
  const place = await registry(
    withBlob(async (response) => {
      response.writeHead(206, range)
      while (!response.destroyed) {
        response.write(bytes)
        await delay(1)
      }
    }),
  )
  expect(bytes.equals(await readAll(place))).toBe(true)
})

test('a connection that is cut goes on where it was', async () => {
  const place = await registry((request, response) => {
    if (request.method === 'HEAD') return response.writeHead(200, { 'content-length': bytes.length }).end()
    const first = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1])
    response.writeHead(206, { 'content-range': `bytes ${first}-${bytes.length - 1}/${bytes.length}` })
    response.write(bytes.subarray(first, first + 40_000))
    return setTimeout(() => response.destroy(), 20)
  })
  expect(bytes.equals(await readAll(place))).toBe(true)
  expect(place.server.requests.map(({ headers }) => headers.range).filter(Boolean)).toEqual([
    'bytes=0-99999',
    'bytes=40000-99999',
    'bytes=80000-99999',
  ])
})

test('a server that ignores ranges is read from the beginning', async () => {
  const place = await registry(withBlob((response) => response.writeHead(200).end(bytes)))
  await using blob = await place.blobs.open(digest)
  const read = await blob.read({ offsetBytes: 5000, lengthBytes: 70_000 })
  expect(bytes.subarray(5000, 75_000).equals(read)).toBe(true)
})

test('redirects go round in circles five times', async () => {
  const place = await registry(
    withBlob((response) => response.writeHead(307, { location: '/v2/team/vms/again' }).end()),
  )
  await expect(readAll(place)).rejects.toMatchObject({ code: 'PLACE_REFUSED' })
  expect(place.server.requests.filter(({ line }) => line.startsWith('GET')).length).toBe(6)
})

test.each([
  ['a file', 'file:///etc/passwd'],
  ['nowhere', 'http://'],
  ['an address with a password', 'http://user:secret@127.0.0.1:1/'],
])('a redirect to %s is refused', async (_, location) => {
  const place = await registry(withBlob((response) => response.writeHead(307, { location }).end()))
  await expect(readAll(place)).rejects.toMatchObject({
    code: 'PLACE_REFUSED',
    message: expect.not.stringContaining('secret'),
  })
})

test('a manifest with another digest is refused', async () => {
  const place = await registry((_, response) => response.end('{"schemaVersion":2}'))
  await expect(place.artifacts.referrers(digest, 'any')).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  const target = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size: 19,
    annotations: {
      'dev.varve.snapshot': 'a'.repeat(32),
      'org.opencontainers.image.created': '2026-01-02T03:04:05.678Z',
    },
  }
  await expect(place.refs.compareAndSet('latest', null, target)).rejects.toMatchObject({
    code: 'PLACE_REFUSED',
    message: expect.stringContaining(
      `sha256:${createHash('sha256').update('{"schemaVersion":2}').digest('hex')}`,
    ),
  })
})

test('lists that never end are refused', async () => {
  let page = 0
  const tags = await registry((_, response) =>
    response
      .writeHead(200, { link: `</v2/team/vms/tags/list?page=${++page}>; rel="next"` })
      .end(JSON.stringify({ tags: Array.from({ length: 20_000 }, (_, i) => `sha256-${page}-${i}`) })),
  )
  await expect(collected(tags.refs.list())).rejects.toMatchObject({ code: 'PLACE_REFUSED' })
  expect(page).toBe(4)
  const endless = await registry(async (_, response) => {
    response.writeHead(200)
    while (!response.destroyed) {
      response.write('['.repeat(100_000))
      await delay(1)
    }
  })
  await expect(collected(endless.refs.list())).rejects.toMatchObject({ code: 'PLACE_REFUSED' })
})

const settings = (host: string) => ({
  endpoint: new URL(`http://${host}`),
  credential: { accessKeyId: 'known', secretAccessKey: 'the secret' },
})

async function bucket(answer: Answer): Promise<RemotePlace> {
  const server = await scriptedServer(answer)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return openBucket(
    { kind: 'bucket', bucket: 'vms', prefix: 'team' },
    { limits, settings: settings(server.host) },
  )
}

const listing = (inside: string) => `<?xml version="1.0"?><ListBucketResult>${inside}</ListBucketResult>`

test.each([
  [
    'a page that names itself as the next',
    '<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>',
  ],
  ['a key of another prefix', '<Contents><Key>other/blobs/sha256/x</Key></Contents>'],
  ['a page without the next', '<IsTruncated>true</IsTruncated>'],
])('a bucket’s list with %s is refused', async (_, inside) => {
  const place = await bucket((_request, response) => response.end(listing(inside)))
  await expect(collected(place.blobs.list())).rejects.toMatchObject({ code: 'PLACE_REFUSED' })
})

test.each([
  ['If-None-Match', /^$/],
  ['If-Match', /if-none-match/],
])('a bucket that ignores %s changes no reference', async (name, honoured) => {
  const written: string[] = []
  const place = await bucket((request, response) => {
    if (request.method === 'HEAD') return response.writeHead(200, { 'content-length': 3 }).end()
    if (request.method !== 'PUT') return response.writeHead(404).end()
    const holds = Object.keys(request.headers).some((it) => honoured.test(it)) && written.length > 0
    if (holds) return response.writeHead(412).end()
    written.push(request.url ?? '')
    return response.writeHead(200, { etag: '"1"' }).end()
  })
  const target = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size: 3,
    annotations: {
      'dev.varve.snapshot': 'a'.repeat(32),
      'org.opencontainers.image.created': '2026-01-02T03:04:05.678Z',
    },
  }
  await expect(place.refs.compareAndSet('latest', null, target)).rejects.toMatchObject({
    code: 'PLACE_REFUSED',
    message: expect.stringContaining(name),
  })
  expect(new Set(written)).toEqual(new Set(['/vms/team/varve-probe']))
})

test('of two PUTs of one reference whose first answer was lost, the writer finds that it has won', async () => {
  const objects = new Map<string, Buffer>()
  let lost = 0
  const place = await bucket((request, response, body) => {
    const key = request.url ?? ''
    const there = objects.get(key)
    if (request.method === 'HEAD') return response.writeHead(200, { 'content-length': 3 }).end()
    if (request.method === 'GET')
      return there ? response.writeHead(200, { etag: '"1"' }).end(there) : response.writeHead(404).end()
    const { 'if-none-match': none, 'if-match': match } = request.headers
    if ((none !== undefined && there !== undefined) || match !== undefined)
      return response.writeHead(412).end()
    objects.set(key, body)
    if (key.includes('/refs/') && lost++ === 0) return response.destroy()
    return response.writeHead(200, { etag: '"1"' }).end()
  })
  const target = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size: 3,
    annotations: {
      'dev.varve.snapshot': 'a'.repeat(32),
      'org.opencontainers.image.created': '2026-01-02T03:04:05.678Z',
    },
  }
  expect(await place.refs.compareAndSet('latest', null, target)).toBe(true)
  expect(lost).toBe(1)
  expect(await place.refs.read('latest')).toEqual(target)
})
