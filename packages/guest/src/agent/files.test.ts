import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type NativeAgent, nativeAgent } from './agent-fixture.js'

let native: NativeAgent
const at = (name: string) => join(native.directory, name)
beforeAll(async () => {
  native = await nativeAgent()
})
afterAll(async () => {
  await native[Symbol.asyncDispose]()
})

/** What is in the agent's folder besides its socket. */
const leftovers = () => readdirSync(native.directory).filter((name) => name.startsWith('.varve-'))

test('a file that is put has its content, size and mode', async () => {
  const content = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n % 251))
  expect(await native.agent.put(at('a'), content, { mode: 0o750 })).toBe(100_000)
  expect(readFileSync(at('a')).equals(content)).toBe(true)
  expect(statSync(at('a')).mode & 0o7777).toBe(0o750)
  expect(await native.agent.put(at('a'), 'short')).toBe(5)
  expect(readFileSync(at('a'), 'utf8')).toBe('short')
  expect(statSync(at('a')).mode & 0o7777).toBe(0o644)
  expect(await native.agent.put(at('empty'), '')).toBe(0)
})

test.runIf(process.getuid?.() === 0)('a file that is put has the owner that is asked for', async () => {
  await native.agent.put(at('owned'), 'x', { user: '1234:4321', mode: 0o4755 })
  expect(statSync(at('owned'))).toMatchObject({ uid: 1234, gid: 4321 })
  expect(statSync(at('owned')).mode & 0o7777).toBe(0o4755)
})

test('until the end has come, the old file stays; what is given up leaves nothing', async () => {
  writeFileSync(at('kept'), 'old')
  const controller = new AbortController()
  async function* halves() {
    yield Buffer.alloc(300_000, 'new')
    await sleep(100)
    expect(readFileSync(at('kept'), 'utf8')).toBe('old')
    expect(leftovers()).toHaveLength(1)
    controller.abort()
    yield Buffer.alloc(10)
  }
  const put = native.agent.put(at('kept'), halves(), { signal: controller.signal })
  await expect(put).rejects.toMatchObject({ code: 'INTERRUPTED' })
  for (let tries = 0; leftovers().length > 0 && tries < 100; tries++) await sleep(10)
  expect(leftovers()).toEqual([])
  expect(readFileSync(at('kept'), 'utf8')).toBe('old')
})

test('the time limit of a put leaves nothing either', async () => {
  async function* slow() {
    yield Buffer.alloc(10)
    await sleep(1_000)
    yield Buffer.alloc(10)
  }
  const put = native.agent.put(at('slow'), slow(), { timeoutMs: 200 })
  await expect(put).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(existsSync(at('slow'))).toBe(false)
  for (let tries = 0; leftovers().length > 0 && tries < 100; tries++) await sleep(10)
  expect(leftovers()).toEqual([])
})

test.each([
  ['a folder that is not there', '/no/such/file', 2],
  ['a folder in the place of a file', '/tmp', 39],
])('put refuses %s', async (_, path, errno) => {
  const put = native.agent.put(path, 'x')
  const details = { agentCode: 'FILE_FAILED' }
  await expect(put).rejects.toMatchObject({ code: 'GUEST_REFUSED', details })
  await expect(put.catch((error) => error.details.errno)).resolves.toSatisfy(
    (it) => it === errno || it === 21,
  )
})

test('a file that is got has content, size and mode', async () => {
  const content = Buffer.alloc(3_000_000, 'content ')
  writeFileSync(at('large'), content)
  chmodSync(at('large'), 0o640)
  await using file = await native.agent.get(at('large'))
  expect(file).toMatchObject({ mode: 0o640, sizeBytes: 3_000_000 })
  const chunks: Buffer[] = []
  for await (const chunk of file.content) chunks.push(chunk)
  expect(Buffer.concat(chunks).equals(content)).toBe(true)
})

test('files of /proc are read to their end', async () => {
  const text = (await native.agent.readFile('/proc/self/status')).toString()
  expect(text).toContain('varve-agent')
})

test('get refuses what is not there, folders, and what the user may not read', async () => {
  mkdirSync(at('folder'))
  const refused = (path: string, options = {}) => expect(native.agent.readFile(path, options)).rejects
  await refused('/no/such').toMatchObject({ code: 'GUEST_REFUSED', details: { errno: 2 } })
  await refused(at('folder')).toMatchObject({ code: 'GUEST_REFUSED', details: { errno: 21 } })
  await refused('relative').toMatchObject({ code: 'INVALID_ARGUMENT' })
  if (process.getuid?.() === 0)
    await refused('/etc/shadow', { user: 'nobody' }).toMatchObject({ details: { errno: 13 } })
})

test('a file that is longer than the reader wants is an error, not memory', async () => {
  await expect(native.agent.readFile('/dev/zero', { maxBytes: 1_000_000 })).rejects.toMatchObject({
    code: 'GUEST_PROTOCOL',
  })
})
