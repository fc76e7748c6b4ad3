import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { goesAtLogout, warnIfGoesAtLogout } from './login-session.js'

vi.mock('node:os', async (original) => {
  const os = await original<typeof import('node:os')>()
  return { ...os, userInfo: vi.fn(os.userInfo) }
})

let directory: string
let runtime: string
let places: { sessions: string; lingering: string; user: () => string | undefined }
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-session-'))
  places = { sessions: join(directory, 'user'), lingering: join(directory, 'linger'), user: () => 'me' }
  runtime = join(places.sessions, '1000', 'varve')
  mkdirSync(runtime, { recursive: true })
  mkdirSync(places.lingering)
})
afterEach(() => rmSync(directory, { recursive: true }))

test('a runtime directory in the user’s session goes at logout, also by a link', () => {
  const link = join(directory, 'link')
  symlinkSync(runtime, link)
  expect([runtime, link, directory].map((it) => goesAtLogout(it, places))).toEqual([true, true, false])
})

test('not where the user lingers', () => {
  writeFileSync(join(places.lingering, 'me'), '')
  expect(goesAtLogout(runtime, places)).toBe(false)
})

test('a user without a name, as in a container, lingers nowhere, and is no error', () => {
  vi.mocked(userInfo).mockImplementationOnce(() => {
    throw new Error('uv_os_get_passwd returned ENOENT')
  })
  const { sessions, lingering } = places
  expect(goesAtLogout(runtime, { sessions, lingering })).toBe(true)
})

test('the warning comes once, and names the directory and what to do', async () => {
  const warning = once(process, 'warning')
  warnIfGoesAtLogout(runtime, places)
  expect((await warning)[0]).toMatchObject({
    code: 'VARVE_GOES_AT_LOGOUT',
    message: expect.stringMatching(new RegExp(`^${runtime} .*enable-linger.*VARVE_RUNTIME_DIR`)),
  })
  let again = 0
  const count = () => again++
  process.on('warning', count)
  warnIfGoesAtLogout(runtime, places)
  await new Promise(setImmediate)
  process.off('warning', count)
  expect(again).toBe(0)
})
