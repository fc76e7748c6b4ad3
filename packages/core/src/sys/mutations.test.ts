import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  cloneRange,
  copyFileRange,
  createFile,
  linkFile,
  type Mutation,
  makeDirectory,
  observeMutations,
  openForWriting,
  removeDirectory,
  removeFile,
  renameFile,
  syncDirectory,
  syncFile,
  truncate,
  writeAt,
} from './mutations.js'

let directory: string
const at = (name: string) => join(directory, name)
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/varve-mutations-')
})
afterEach(() => {
  observeMutations(undefined)
  rmSync(directory, { recursive: true })
})

/** One of each kind, in an order in which each can be done. */
const steps: readonly (readonly [Mutation['kind'], string, () => unknown])[] = [
  ['mkdir', 'made', () => makeDirectory(at('made'))],
  ['create', 'made/file', async () => (await createFile(at('made/file')))[Symbol.asyncDispose]()],
  ['write', 'made/file', () => onFile('made/file', (file) => writeAt(file, Buffer.from('abcdef'), 2))],
  ['truncate', 'made/file', () => onFile('made/file', (file) => truncate(file, 5))],
  ['copy', 'made/file', () => onFile('made/file', (file) => copyFileRange(file.handle.fd, 2, file, 100, 2))],
  [
    'clone',
    'made/file',
    () => onFile('made/file', (file) => cloneRange(file.handle.fd, 0, file, 8192, 4096)),
  ],
  ['fsync', 'made/file', () => onFile('made/file', syncFile)],
  ['fsync', 'made', () => syncDirectory(at('made'))],
  ['link', 'made/second', () => linkFile(at('made/file'), at('made/second'))],
  ['rename', 'made/third', () => renameFile(at('made/second'), at('made/third'))],
  ['unlink', 'made/third', () => removeFile(at('made/third'))],
  ['rmdir', 'made', () => removeDirectory(at('made'))],
]

async function onFile(name: string, work: (file: Awaited<ReturnType<typeof openForWriting>>) => unknown) {
  await using file = await openForWriting(at(name))
  await work(file)
}

/** Names, sizes and contents of everything in the directory. */
const picture = () =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => [name, statSync(at(name)).isFile() ? readFileSync(at(name), 'latin1') : '/'])

describe('the observer', () => {
  test('hears of each change before it is made, by kind and path', async () => {
    for (const [kind, name, step] of steps) {
      const heard: Mutation[] = []
      const before = picture()
      observeMutations((mutation) => {
        heard.push(mutation)
        expect(picture()).toEqual(before)
      })
      await step()
      expect(heard).toMatchObject([{ kind, path: at(name) }])
    }
    expect(readdirSync(directory)).toEqual([])
  })

  test('what it throws comes in place of the change, once; without it all goes on', async () => {
    for (const [, , step] of steps) {
      const before = picture()
      observeMutations(() => {
        throw new Error('stopped here')
      })
      await expect((async () => step())()).rejects.toThrow('stopped here')
      expect(picture()).toEqual(before)
      observeMutations(undefined)
      await step()
    }
    expect(readdirSync(directory)).toEqual([])
  })
})

describe('the changes themselves', () => {
  test('a new file is private, and never an old one', async () => {
    await using file = await createFile(at('file'))
    expect(statSync(at('file')).mode & 0o777).toBe(0o600)
    writeAt(file, Buffer.from('xyz'), 3)
    expect(readFileSync(at('file'), 'latin1')).toBe('\0\0\0xyz')
    truncate(file, 4)
    expect(readFileSync(at('file'), 'latin1')).toBe('\0\0\0x')
    expect(copyFileRange(file.handle.fd, 3, file, 4, 1)).toBe(1)
    expect(readFileSync(at('file'), 'latin1')).toBe('\0\0\0xx')
    await expect(createFile(at('file'))).rejects.toMatchObject({ code: 'EEXIST' })
    symlinkSync(at('elsewhere'), at('link'))
    await expect(createFile(at('link'))).rejects.toMatchObject({ code: 'EEXIST' })
    expect(existsSync(at('elsewhere'))).toBe(false)
  })

  test('an existing file is opened as it is, through no link', async () => {
    writeFileSync(at('file'), 'before')
    {
      await using file = await openForWriting(at('file'))
      writeAt(file, Buffer.from('!'), 6)
    }
    expect(readFileSync(at('file'), 'utf8')).toBe('before!')
    symlinkSync(at('file'), at('link'))
    await expect(openForWriting(at('link'))).rejects.toMatchObject({ code: 'ELOOP' })
    await expect(openForWriting(at('absent'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('links do not replace, renames do', async () => {
    writeFileSync(at('a'), 'a')
    writeFileSync(at('b'), 'b')
    await expect(linkFile(at('a'), at('b'))).rejects.toMatchObject({ code: 'EEXIST' })
    await renameFile(at('a'), at('b'))
    expect(readFileSync(at('b'), 'utf8')).toBe('a')
    expect(readdirSync(directory)).toEqual(['b'])
  })

  test('what is gone already is no error to remove', async () => {
    await removeFile(at('absent'))
    await removeDirectory(at('absent'))
    await makeDirectory(at('full'))
    expect(statSync(at('full')).mode & 0o777).toBe(0o700)
    await expect(makeDirectory(at('full'))).rejects.toMatchObject({ code: 'EEXIST' })
    mkdirSync(at('full/inner'))
    await removeDirectory(at('full'))
    expect(existsSync(at('full'))).toBe(false)
  })
})

test('what the file system refuses is WRITE_FAILED, with the errno and the remedy; other errors keep their code', async () => {
  await using full = await openForWriting('/dev/full')
  expect(() => writeAt(full, Buffer.alloc(10), 0)).toThrow(
    expect.objectContaining({
      code: 'WRITE_FAILED',
      message: expect.stringContaining('/dev/full'),
      remedy: expect.stringContaining('make room'),
      details: { path: '/dev/full', errno: 'ENOSPC' },
    }),
  )
  await expect(createFile(at('none/file'))).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(makeDirectory(directory)).rejects.toMatchObject({ code: 'EEXIST' })
})
