import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { linkDescriptor, openBeneath, openHandleBeneath, openPathBeneath } from './open-beneath.js'

let directory: string
let inside: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-beneath-'))
  inside = join(directory, 'inside')
  mkdirSync(join(inside, 'real'), { recursive: true })
  writeFileSync(join(inside, 'real', 'file'), 'inside')
  mkdirSync(join(directory, 'victim'))
  writeFileSync(join(directory, 'victim', 'file'), 'secret')
})
afterEach(() => rmSync(directory, { recursive: true }))

const read = async (path: string) => {
  await using handle = await openHandleBeneath(inside, path)
  return await handle.readFile('utf8')
}

describe('a file in a directory of another user', () => {
  test('is opened by its path', async () => {
    expect(await read('real/file')).toBe('inside')
    expect(await read('./real/../real/file')).toBe('inside')
    await expect(read('absent')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('is not reached by a link, wherever that is, nor above it', async () => {
    symlinkSync(join(directory, 'victim'), join(inside, 'folder'))
    symlinkSync(join(directory, 'victim', 'file'), join(inside, 'link'))
    symlinkSync('real', join(inside, 'within'))
    for (const path of ['folder/file', 'link', 'within/file'])
      await expect(read(path), path).rejects.toMatchObject({ code: 'ELOOP' })
    for (const path of ['../victim/file', '/etc/passwd', 'real/../../victim/file'])
      await expect(read(path), path).rejects.toMatchObject({ code: 'EXDEV' })
    expect(() => openBeneath(inside, 'link', constants.O_WRONLY)).toThrow('ELOOP')
  })

  test('is never the one that a link leads to, however fast they are exchanged', async () => {
    // mv --exchange is not everywhere: two renames, in a loop.
    const script = `const { renameSync, symlinkSync } = require('node:fs')
      process.chdir(process.argv[1])
      symlinkSync('../victim', 'link')
      for (;;) { renameSync('real', 'kept'); renameSync('link', 'real'); renameSync('real', 'link'); renameSync('kept', 'real') }`
    const swapper = spawn(process.execPath, ['-e', script, inside], { stdio: 'ignore' })
    const outcomes = new Set<string>()
    const until = Date.now() + 1500
    while (Date.now() < until)
      outcomes.add(await read('real/file').catch((error: NodeJS.ErrnoException) => error.code ?? 'other'))
    swapper.kill('SIGKILL')
    await once(swapper, 'exit')
    expect([...outcomes]).not.toContain('secret')
    expect([...outcomes]).toContain('inside')
    for (const outcome of outcomes) expect(['inside', 'ENOENT', 'ELOOP', 'EAGAIN']).toContain(outcome)
  })

  test('is opened by a path with `..` also while other files are renamed all the time', async () => {
    const script = `const { renameSync } = require('node:fs')
      process.chdir(process.argv[1])
      for (;;) { renameSync('file', 'renamed'); renameSync('renamed', 'file') }`
    const renamer = spawn(process.execPath, ['-e', script, join(directory, 'victim')], { stdio: 'ignore' })
    const path = `${'real/../'.repeat(20)}real/file`
    const until = Date.now() + 1500
    while (Date.now() < until) closeSync(openBeneath(inside, path, constants.O_RDONLY))
    renamer.kill('SIGKILL')
    await once(renamer, 'exit')
  })

  test('gets another name as the file that was looked at, whatever has its name by then', () => {
    const fd = openPathBeneath(inside, 'real/file')
    rmSync(join(inside, 'real', 'file'))
    linkSync(join(directory, 'victim', 'file'), join(inside, 'real', 'file'))
    // Of a file without any name the kernel makes no new one.
    expect(() => linkDescriptor(fd, join(directory, 'out'))).toThrow('ENOENT')
    closeSync(fd)
    const other = openPathBeneath(inside, 'real/file')
    linkDescriptor(other, join(directory, 'out'))
    expect(readFileSync(join(directory, 'out'), 'utf8')).toBe('secret')
    expect(() => linkDescriptor(other, join(directory, 'out'))).toThrow('EEXIST')
    closeSync(other)
  })
})
