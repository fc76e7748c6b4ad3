import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { awsSettings, type Credential, dockerCredential, openRegistry } from '@varve/remote'
import { scriptedServer } from '@varve/remote/testing'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { blobOf } from '../support/blob-source-suite.js'

const bytes = Buffer.from('a blob')
const { digest } = blobOf(bytes)
const basic = (user: string, password: string) =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-credentials-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** A registry that wants a token, and the server that gives it; `expired`: how many tokens are refused. */
async function tokenRegistry({
  expired = 0,
  credential,
}: {
  expired?: number
  credential?: Credential
} = {}) {
  let given = 0
  const server = await scriptedServer((request, response, body) => {
    if (request.url?.startsWith('/token')) {
      const asked = request.method === 'POST' ? new URLSearchParams(body.toString()) : undefined
      return response.end(JSON.stringify({ token: `t${++given}`, asked: [...(asked ?? [])] }))
    }
    const serial = Number(/^Bearer t(\d+)$/.exec(request.headers.authorization ?? '')?.[1] ?? 0)
    if (serial <= expired) {
      const realm = `http://${request.headers.host}/token`
      const challenge = `Bearer realm="${realm}",service="the registry",scope="repository:team/vms:pull"`
      return response.writeHead(401, { 'www-authenticate': challenge }).end()
    }
    return response.writeHead(200, { 'content-length': bytes.length }).end()
  })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const place = openRegistry(
    { kind: 'registry', host: server.host, repository: 'team/vms' },
    { credential: async () => credential },
  )
  return { server, blobs: place.blobs }
}

test('a token is asked for once, with the password, and sent with each request', async () => {
  const credential = { kind: 'password', user: 'me', password: 'the password' } as const
  const { server, blobs } = await tokenRegistry({ credential })
  await blobs.stat(digest)
  await blobs.stat(digest)
  expect(server.requests.map(({ line }) => line)).toEqual([
    `HEAD /v2/team/vms/blobs/${digest}`,
    'GET /token?service=the+registry&scope=repository%3Ateam%2Fvms%3Apull',
    `HEAD /v2/team/vms/blobs/${digest}`,
    `HEAD /v2/team/vms/blobs/${digest}`,
  ])
  expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([
    undefined,
    basic('me', 'the password'),
    'Bearer t1',
    'Bearer t1',
  ])
})

test('without a credential, the token is asked for without one', async () => {
  const { server, blobs } = await tokenRegistry()
  expect(await blobs.stat(digest)).toEqual({ sizeBytes: bytes.length })
  expect(server.requests[1]?.headers.authorization).toBeUndefined()
})

test('a token that has expired is replaced once, and a second refusal is the answer', async () => {
  const { server, blobs } = await tokenRegistry({ expired: 1 })
  await expect(blobs.stat(digest)).rejects.toMatchObject({ code: 'PLACE_REFUSED', details: { status: 401 } })
  expect(server.requests.length).toBe(3)
  // The next call begins anew.
  expect(await blobs.stat(digest)).toEqual({ sizeBytes: bytes.length })
})

test.each([
  ['on another host by HTTP', 'Bearer realm="http://192.0.2.1/token"'],
  ['that is no address', 'Bearer realm="here"'],
  ['of an unknown scheme', 'Negotiate abc'],
])('a challenge %s is refused, and no password leaves', async (_, challenge) => {
  const server = await scriptedServer((_request, response) =>
    response.writeHead(401, { 'www-authenticate': challenge }).end(),
  )
  onTestFinished(() => server[Symbol.asyncDispose]())
  const { blobs } = openRegistry(
    { kind: 'registry', host: server.host, repository: 'team/vms' },
    { credential: async () => ({ kind: 'password', user: 'me', password: 'secret' }) },
  )
  await expect(blobs.stat(digest)).rejects.toMatchObject({ code: 'PLACE_REFUSED' })
  expect(server.requests.map(({ headers }) => headers.authorization)).toEqual([undefined])
})

test('credentials do not follow a redirect to another host', async () => {
  const storage = await scriptedServer((_request, response) =>
    response.writeHead(206, { 'content-range': `bytes 0-5/6` }).end(bytes),
  )
  onTestFinished(() => storage[Symbol.asyncDispose]())
  const server = await scriptedServer((request, response) => {
    if (request.headers.authorization === undefined)
      return response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
    if (request.method === 'HEAD') return response.writeHead(200, { 'content-length': 6 }).end()
    return response.writeHead(307, { location: `http://${storage.host}/signed?key=1` }).end()
  })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const { blobs } = openRegistry(
    { kind: 'registry', host: server.host, repository: 'team/vms' },
    { credential: async () => ({ kind: 'password', user: 'me', password: 'secret' }) },
  )
  await using blob = await blobs.open(digest)
  expect(Buffer.from(await blob.read({ offsetBytes: 0, lengthBytes: 6 }))).toEqual(bytes)
  expect(server.requests.at(-1)?.headers.authorization).toBe(basic('me', 'secret'))
  expect(storage.requests.map(({ headers }) => [headers.authorization, headers.range])).toEqual([
    [undefined, 'bytes=0-5'],
  ])
})

const config = (value: unknown) => {
  const path = join(directory, 'config.json')
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value))
  return [path]
}
const encoded = (text: string) => Buffer.from(text).toString('base64')

test('docker’s config.json: passwords, identity tokens, and none', async () => {
  const files = config({
    auths: {
      'registry.example': { auth: encoded('me:a:password') },
      'token.example:5000': { auth: encoded('x:'), identitytoken: 'the token' },
    },
  })
  expect(await dockerCredential('registry.example', files)).toEqual({
    kind: 'password',
    user: 'me',
    password: 'a:password',
  })
  expect(await dockerCredential('token.example:5000', files)).toEqual({
    kind: 'identity token',
    token: 'the token',
  })
  for (const host of ['registry.example:5000', 'example', 'constructor', '__proto__'])
    expect(await dockerCredential(host, files)).toBeUndefined()
  expect(await dockerCredential('registry.example', [join(directory, 'none')])).toBeUndefined()
})

test.each([
  '{"auths": {"registry.example": secret',
  { auths: { 'registry.example': { auth: encoded('secret') } } },
])('a broken config.json is FORMAT_INVALID, and nothing of it is repeated', async (value) => {
  const error = await dockerCredential('registry.example', config(value)).catch((it: unknown) => it)
  expect(error).toMatchObject({ code: 'FORMAT_INVALID' })
  expect(JSON.stringify(error) + String((error as Error).cause)).not.toContain('secret')
})

test('a credential helper is asked for the host', async () => {
  const helper = join(directory, 'docker-credential-made')
  writeFileSync(
    helper,
    `#!/bin/sh
read host
case "$1 $host" in
"get registry.example") echo '{"ServerURL":"x","Username":"me","Secret":"from the helper"}';;
"get token.example") echo '{"Username":"<token>","Secret":"a token"}';;
"get broken.example") echo 'secret'; exit 1;;
*) echo 'credentials not found in native keychain'; exit 1;;
esac
`,
  )
  chmodSync(helper, 0o700)
  const path = process.env.PATH
  process.env.PATH = `${directory}${delimiter}${path}`
  onTestFinished(() => {
    process.env.PATH = path
  })
  const files = config({ credsStore: 'made', credHelpers: { 'evil.example': '../../bin/sh' } })
  expect(await dockerCredential('registry.example', files)).toEqual({
    kind: 'password',
    user: 'me',
    password: 'from the helper',
  })
  expect(await dockerCredential('token.example', files)).toEqual({ kind: 'identity token', token: 'a token' })
  expect(await dockerCredential('none.example', files)).toBeUndefined()
  await expect(dockerCredential('evil.example', files)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(dockerCredential('broken.example', files)).rejects.toMatchObject({
    code: 'HOST_UNSUPPORTED',
    message: expect.not.stringContaining('secret'),
  })
})

test('buckets take the AWS variables, else a profile', () => {
  const credentials = join(directory, 'credentials')
  writeFileSync(
    credentials,
    '[other]\naws_access_key_id = a\n[work]\naws_access_key_id = key\naws_secret_access_key=secret\n',
  )
  const files = { AWS_SHARED_CREDENTIALS_FILE: credentials, AWS_CONFIG_FILE: join(directory, 'none') }
  expect(awsSettings({ ...files, AWS_PROFILE: 'work', AWS_REGION: 'eu-central-1' })).toEqual({
    credential: { accessKeyId: 'key', secretAccessKey: 'secret' },
    region: 'eu-central-1',
  })
  const variables = { AWS_ACCESS_KEY_ID: 'k', AWS_SECRET_ACCESS_KEY: 's', AWS_SESSION_TOKEN: 't' }
  expect(awsSettings({ ...files, ...variables, AWS_ENDPOINT_URL: 'https://s3.example' })).toEqual({
    credential: { accessKeyId: 'k', secretAccessKey: 's', sessionToken: 't' },
    endpoint: new URL('https://s3.example'),
  })
  expect(() => awsSettings({ ...files, AWS_PROFILE: 'other' })).toThrow(/no credentials/)
  expect(() => awsSettings({ ...files, ...variables, AWS_ENDPOINT_URL: 'https://a:secret@b' })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.not.stringContaining('secret') }),
  )
})
