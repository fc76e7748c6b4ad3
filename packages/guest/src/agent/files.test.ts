import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
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

describe.runIf(process.getuid?.() === 0)('put and get as a user', () => {
  const user = '1234:4321'
  /** A folder of the user, and one of root, which the user may read. */
  let [home, roots] = ['', '']
  beforeAll(() => {
    // Users of the guest reach this, and perhaps not the folder of the agent's socket.
    const shared = mkdtempSync('/var/tmp/varve-users-')
    chmodSync(shared, 0o755)
    home = join(shared, 'home')
    roots = join(shared, 'roots')
    for (const folder of [home, roots]) mkdirSync(folder, { mode: 0o755 })
    chownSync(home, 1234, 4321)
  })
  afterAll(() => rmSync(join(home, '..'), { recursive: true }))

  test('the file has the owner that is asked for', async () => {
    await native.agent.put(join(home, 'owned'), 'x', { user, mode: 0o4755 })
    expect(statSync(join(home, 'owned'))).toMatchObject({ uid: 1234, gid: 4321 })
    expect(statSync(join(home, 'owned')).mode & 0o7777).toBe(0o4755)
    mkdirSync(join(home, 'shared'))
    chownSync(join(home, 'shared'), 0, 99)
    chmodSync(join(home, 'shared'), 0o2777)
    await native.agent.put(join(home, 'shared/owned'), 'x', { user })
    expect(statSync(join(home, 'shared/owned'))).toMatchObject({ uid: 1234, gid: 4321 })
  })

  test('a link of the user leads only where the user may write', async () => {
    symlinkSync(roots, join(home, 'link'))
    lchownSync(join(home, 'link'), 1234, 4321)
    await expect(native.agent.put(join(home, 'link/file'), 'x', { user })).rejects.toMatchObject({
      details: { agentCode: 'FILE_FAILED', errno: 13 },
    })
    expect(readdirSync(roots)).toEqual([])
    expect(await native.agent.put(join(home, 'link/file'), 'x')).toBe(1)
    writeFileSync(join(roots, 'secret'), 'x', { mode: 0o600 })
    await expect(native.agent.readFile(join(home, 'link/secret'), { user })).rejects.toMatchObject({
      details: { errno: 13 },
    })
  })

  test('a folder that becomes a link during the transfer keeps its file', async () => {
    const [folder, moved, other] = [join(home, 'folder'), join(home, 'moved'), join(home, 'other')]
    for (const it of [folder, other]) mkdirSync(it)
    async function* halves() {
      yield Buffer.from('first ')
      while (!readdirSync(folder).some((name) => name.startsWith('.varve-'))) await sleep(10)
      renameSync(folder, moved)
      symlinkSync(other, folder)
      yield Buffer.from('second')
    }
    expect(await native.agent.put(join(folder, 'file'), halves())).toBe(12)
    expect([readdirSync(moved), readdirSync(other)]).toEqual([['file'], []])
  })

  test('the user can neither signal the process that writes nor look into it', async () => {
    async function* halves() {
      yield Buffer.from('first ')
      const isWork = (name: string) => name.startsWith('.varve-')
      while (!readdirSync(home).some(isWork)) await sleep(10)
      const [, pid = ''] = /^\.varve-(\d+)-/.exec(readdirSync(home).find(isWork) ?? '') ?? []
      const { exitCode, stderr } = await native.agent.exec(['kill', '-STOP', pid], { user })
      expect({ exitCode, stderr: stderr.toString() }).toEqual({
        exitCode: 1,
        stderr: expect.stringContaining('not permitted'),
      })
      const look = await native.agent.exec(['cat', `/proc/${pid}/environ`], { user })
      expect(look.stderr.toString()).toContain('Permission denied')
      yield Buffer.from('second')
    }
    expect(await native.agent.put(join(home, 'signalled'), halves(), { user })).toBe(12)
  })
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
