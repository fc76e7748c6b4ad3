import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { removeDirectory, removeFile } from './mutations.js'
import { assertOwnDirectory, holdOwnDirectory, removalsFor } from './own-directory.js'

let directory: string
const at = (name: string) => join(directory, name)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-own-'))
  mkdirSync(at('own'), { mode: 0o700 })
  mkdirSync(at('elsewhere'), { mode: 0o700 })
  writeFileSync(at('elsewhere/precious'), 'precious')
})
afterEach(() => rmSync(directory, { recursive: true }))

const refused = (message: RegExp, remedy: RegExp) =>
  expect.objectContaining({
    code: 'PATH_INVALID',
    message: expect.stringMatching(message),
    remedy: expect.stringMatching(remedy),
  })

describe('an own directory', () => {
  test('is real, ours and private', () => {
    assertOwnDirectory(at('own'))
    symlinkSync(at('own'), at('link'))
    writeFileSync(at('file'), '')
    expect(() => assertOwnDirectory(at('link'))).toThrow(refused(/is a symbolic link/, /of your own/))
    expect(() => assertOwnDirectory(at('file'))).toThrow(refused(/is not a directory/, /of your own/))
    expect(() => assertOwnDirectory(at('none'))).toThrow(expect.objectContaining({ code: 'PATH_INVALID' }))
    for (const mode of [0o777, 0o755, 0o770, 0o701]) {
      chmodSync(at('own'), mode)
      expect(() => assertOwnDirectory(at('own'))).toThrow(refused(/has mode 7/, /chmod 700 \//))
    }
  })

  test.skipIf(process.geteuid?.() !== 0)('of another user is refused, by root too', () => {
    chownSync(at('own'), 65534, 65534)
    expect(() => assertOwnDirectory(at('own'))).toThrow(refused(/belongs to user 65534/, /run as user 65534/))
  })

  test('that is held is still meant when a link has taken its place', async () => {
    writeFileSync(at('own/precious'), '')
    using held = holdOwnDirectory(at('own'))
    renameSync(at('own'), at('moved'))
    symlinkSync(at('elsewhere'), at('own'))
    expect(held.names()).toEqual(['precious'])
    await removeFile(held.at('precious'))
    expect(readdirSync(at('moved'))).toEqual([])
    expect(existsSync(at('elsewhere/precious'))).toBe(true)
  })
})

test('a removal with all content takes links away and leaves alone what they lead to', async () => {
  mkdirSync(at('own/deep/deeper'), { recursive: true })
  writeFileSync(at('own/deep/deeper/file'), '')
  symlinkSync(at('elsewhere'), at('own/deep/link'))
  symlinkSync(at('elsewhere/precious'), at('own/deep/deeper/link'))
  await removeDirectory(at('own'))
  expect(readdirSync(directory)).toEqual(['elsewhere'])
  symlinkSync(at('elsewhere'), at('link'))
  await removeDirectory(at('link'))
  expect(readdirSync(directory)).toEqual(['elsewhere'])
  expect(readdirSync(at('elsewhere'))).toEqual(['precious'])
})

test('a removal goes on in the directory that it has opened, although a link takes its place', () => {
  mkdirSync(at('own/folder'))
  for (const name of ['one', 'precious', 'two']) writeFileSync(at(`own/folder/${name}`), '')
  const removals = removalsFor({ path: at('own'), reached: at('own') })
  let files = 0
  for (const { reached, isDirectory } of removals) {
    if (isDirectory) break
    if (files++ === 0) {
      renameSync(at('own/folder'), at('own/moved'))
      symlinkSync(at('elsewhere'), at('own/folder'))
    }
    unlinkSync(reached)
  }
  expect(files).toBe(3)
  expect([readdirSync(at('own/moved')), readdirSync(at('elsewhere'))]).toEqual([[], ['precious']])
})
