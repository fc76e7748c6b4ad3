import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openLocalStore } from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.js'
import { addSnapshot, someplan } from '../support/store-world.js'
import { startVersityGateway, type VersityGateway } from '../support/versity-gateway.js'

const entry = fileURLToPath(new URL('../../packages/core/bin/varve.js', import.meta.url))
let directory: string
let registry: DockerRegistry
let gateway: VersityGateway
let ids: { readonly base: string; readonly child: string }
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-remote-command-'))
  registry = await startDockerRegistry()
  gateway = await startVersityGateway()
  const store = await openLocalStore(join(directory, 'here'), { create: true })
  const base = await addSnapshot(store, someplan(1), { tags: ['base'] })
  const child = await addSnapshot(store, someplan(2), { tags: ['child'], parent: base.id })
  ids = { base: base.id, child: child.id }
})
afterAll(async () => {
  await registry[Symbol.asyncDispose]()
  await gateway[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

async function varve(...args: string[]) {
  const { credential, endpoint } = gateway.settings
  const child = spawn(process.execPath, [entry, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      VARVE_STORE: join(directory, 'here'),
      AWS_ACCESS_KEY_ID: credential.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credential.secretAccessKey,
      AWS_ENDPOINT_URL_S3: endpoint?.href,
    },
  })
  const said = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text
    })
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, ...said }
}

const done = async (...args: string[]) => {
  const { status, stdout, stderr } = await varve(...args)
  expect({ status, stderr }).toMatchObject({ status: 0 })
  return stdout
}

test.each([
  ['a registry', () => [`${registry.host}/team/vms`, ':'] as const],
  ['a bucket', () => [`s3://${gateway.bucket}/team`, '#'] as const],
])('push, ls, pull and rm with %s', async (kind, of) => {
  const [place, mark] = of()
  const at = (tag: string) => `${place}${mark}${tag}`
  expect(await done('push', 'base', at('one'))).toMatch(
    /^\w{12} {2}one {2}\d+ blobs, .* sent; 0 B were there\n$/,
  )
  const child = JSON.parse(await done('push', 'child', at('two'), '--json'))
  expect(child).toMatchObject({ place, id: ids.child, tag: 'two' })
  expect(child.presentBytes).toBeGreaterThan(0)
  const { snapshots } = JSON.parse(await done('ls', place, '--json'))
  expect(snapshots).toMatchObject([
    { id: ids.child, parent: ids.base, tags: ['two'], manifest: child.manifest },
    { id: ids.base, parent: null, tags: ['one'] },
  ])
  expect(await done('ls', place)).toMatch(/^ID +TAGS +PARENT +AGE\n/)

  const refused = await varve('push', 'child', at('one'))
  expect(refused).toMatchObject({ status: 2, stdout: '' })
  expect(refused.stderr).toContain('means another snapshot')
  await done('push', 'child', at('one'), '--force')

  const there = ['--store', join(directory, kind)]
  const pulled = JSON.parse(await done('pull', at('two'), '--tag', 'got', '--json', ...there))
  expect(pulled).toMatchObject({ id: ids.child, parent: ids.base, tags: ['got'] })
  expect(await done('pull', at(ids.base), ...there)).toContain(ids.base.slice(0, 12))
  // The name is taken in the store: it stays.
  expect((await varve('pull', at(ids.base), '--tag', 'got', ...there)).stderr).toContain('stays with it')
  await done('fsck', ...there)

  expect(await done('rm', at('two'))).toBe(`two removed from ${place}\n`)
  const again = await varve('rm', at('two'))
  expect(again.status).toBe(6)
  expect(JSON.parse(await done('ls', place, '--json')).snapshots).toMatchObject([{ tags: ['one'] }])
})

test.each([
  [['pull', 'registry.example/team/vms'], 2, 'names no snapshot'],
  [['push', 'base', 'https://registry.example/x'], 2, 'places are'],
  [['ls', 'oci:somewhere'], 2, 'on this host'],
  [['ls', 's3://no-such-bucket/x'], 5, 'NoSuchBucket'],
])('varve %j says what is wrong', async (args, status, words) => {
  const ended = await varve(...args)
  expect(ended.status).toBe(status)
  expect(ended.stderr).toContain(words)
})

test('no server at the place is said within its deadline, and Ctrl-C ends the wait', async () => {
  const child = spawn(process.execPath, [entry, 'ls', '127.0.0.1:9/team/vms'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  setTimeout(() => child.kill('SIGINT'), 2000)
  expect(await new Promise((resolve) => child.once('close', resolve))).toBe(130)
  expect(said).toContain('interrupted')
})
