import { createHash } from 'node:crypto'
import type { Digest } from 'varve'
import { expect, onTestFinished, test } from 'vitest'
import { scriptedServer } from '../http/scripted-server.js'
import { type OpenRegistryOptions, openRegistry } from './open-registry.js'

// What registries do within their rights, and docker-registry does not.

const limits = { idleMs: 300, retryForMs: 1000, firstDelayMs: 5, maxDelayMs: 20 }
const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const bytes = Buffer.from('a blob')
const blob = { digest: digestOf(bytes), sizeBytes: bytes.length }

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
