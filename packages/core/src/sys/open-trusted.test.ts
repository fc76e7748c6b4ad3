import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openTrusted } from './open-trusted.js'

let directory: string
const at = (path: string) => join(directory, path)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-trusted-'))
  mkdirSync(at('real/below'), { recursive: true })
  writeFileSync(at('real/file'), '')
})
afterEach(() => rmSync(directory, { recursive: true }))

/** As if the links here were another user's. */
const stranger = [4_000_000]

/** Whether the path leads to `real/file`. */
function reaches(path: string, trusted?: readonly number[]): boolean {
  const fd = openTrusted(path, trusted)
  const { ino } = fstatSync(fd)
  closeSync(fd)
  return ino === lstatSync(at('real/file')).ino
}

describe('a path that other users may change', () => {
  test('without links is opened, absolute or relative', () => {
    const paths = [at('real/file'), at('real//./below/../file'), relative(process.cwd(), at('real/file'))]
    for (const path of paths) expect(reaches(path, stranger), path).toBe(true)
  })

  test.each([
    ['a directory', 'real'],
    ['an absolute directory', '/'],
    ['another link', 'link'],
  ])('with a link to %s is followed only if a trusted user made it', (_what, to) => {
    symlinkSync('real', at('link'))
    symlinkSync(to === '/' ? at('real') : to, at('way'))
    expect(reaches(at('way/file'))).toBe(true)
    expect(reaches(at('way/below/../file'))).toBe(true)
    expect(() => openTrusted(at('way/file'), stranger)).toThrow(
      expect.objectContaining({
        code: 'ELOOP',
        message: expect.stringContaining('way is a symbolic link of'),
      }),
    )
  })

  test('must not end in a link, nor turn in a circle', () => {
    symlinkSync('file', at('real/last'))
    symlinkSync('circle', at('circle'))
    for (const path of ['real/last', 'circle/file'])
      expect(() => openTrusted(at(path)), path).toThrow(expect.objectContaining({ code: 'ELOOP' }))
  })

  test('gives errors with the path, and leaves no descriptor open', () => {
    const before = readdirSync('/proc/self/fd').length
    for (const [path, code] of [
      ['absent/file', 'ENOENT'],
      ['real/file/below', 'ENOTDIR'],
    ] as const)
      expect(() => openTrusted(at(path))).toThrow(
        expect.objectContaining({ code, message: expect.stringContaining(at(path)) }),
      )
    expect(reaches(at('real/file'))).toBe(true)
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })
})
