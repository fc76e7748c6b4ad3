import {
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { assertSocketPath, hostFiles, jailFiles } from './vmm-files.js'

// The owner of the jail is this user: giving files away needs root, and test/machine/disks.test.ts does it.
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
const stranger = { uid: owner.uid + 1, gid: owner.gid }
let directory: string
let inside: string
let user: string
beforeEach(() => {
  directory = realpathSync(mkdtempSync('/var/tmp/varve-files-'))
  inside = join(directory, 'inside')
  user = join(directory, 'user')
  mkdirSync(inside)
  writeFileSync(user, 'the user’s', { mode: 0o644 })
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const inode = (path: string) => statSync(path).ino

describe('without a jail', () => {
  test('inputs and outputs have their own paths', async () => {
    const files = hostFiles(inside)
    expect(await files.input('relative')).toBe(join(process.cwd(), 'relative'))
    const output = files.output(join(directory, 'out'))
    expect(output.vmmPath).toBe(join(directory, 'out'))
    writeFileSync(output.vmmPath, 'written')
    await output.commit()
    expect(readFileSync(join(directory, 'out'), 'utf8')).toBe('written')
    output.discard()
    output.discard()
    expect(existsSync(join(directory, 'out'))).toBe(false)
  })

  test('a shared file is a link to the real one, a copy is private', async () => {
    const files = hostFiles(inside)
    symlinkSync(user, join(directory, 'alias'))
    await files.place('shared', join(directory, 'alias'), 'shared')
    await files.place('fixed', user, 'read-only')
    await files.place('copy', join(directory, 'alias'), 'copy')
    expect(readlinkSync(join(inside, 'shared'))).toBe(user)
    expect(readlinkSync(join(inside, 'fixed'))).toBe(user)
    expect(inode(join(inside, 'copy'))).not.toBe(inode(user))
    expect(statSync(join(inside, 'copy')).mode & 0o777).toBe(0o600)
    expect(files.local('copy')).toEqual({ hostPath: join(inside, 'copy'), vmmPath: 'copy' })
    expect(await files.locate('shared')).toBe(user)
    expect(await files.locate(user)).toBe(user)
    expect(await files.locate('absent')).toBeUndefined()
  })

  test.each(['shared', 'read-only', 'copy'] as const)(
    '%s: no source, or no room for the name',
    async (how) => {
      const files = hostFiles(inside)
      await expect(files.place('x', join(directory, 'absent'), how)).rejects.toMatchObject({
        code: 'NOT_FOUND',
      })
      await expect(files.place('x', join(user, 'below'), how)).rejects.toMatchObject({ code: 'PATH_INVALID' })
      writeFileSync(join(inside, 'x'), 'there')
      await expect(files.place('x', user, how)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
      expect(readFileSync(join(inside, 'x'), 'utf8')).toBe('there')
      expect(readdirSync(inside)).toEqual(['x'])
    },
  )
})

describe('in a jail', () => {
  test('what its user owns is linked, the rest is copied, and names are relative', async () => {
    const files = jailFiles(inside, owner)
    const first = await files.input(user)
    const second = await files.input(user)
    expect(first).not.toBe(second)
    expect(inode(join(inside, first))).toBe(inode(user))
    await files.place('shared', user, 'shared')
    await files.place('copy', user, 'copy')
    expect(inode(join(inside, 'shared'))).toBe(inode(user))
    expect(inode(join(inside, 'copy'))).not.toBe(inode(user))
    expect(files.local('api.sock')).toEqual({ hostPath: join(inside, 'api.sock'), vmmPath: 'api.sock' })
    for (const path of ['copy', '/copy', '../../copy', './copy'])
      expect(await files.locate(path)).toBe(join(inside, 'copy'))
    await expect(files.place('shared', user, 'shared')).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(files.place('x', join(directory, 'absent'), 'copy')).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
  })

  test('a link of the user’s leads into the jail as the file that it means', async () => {
    symlinkSync(user, join(directory, 'alias'))
    await jailFiles(inside, owner).place('disk', join(directory, 'alias'), 'shared')
    expect(inode(join(inside, 'disk'))).toBe(inode(user))
  })

  test('what its user does not own, or lies elsewhere, is not shared', async () => {
    await expect(jailFiles(inside, stranger).place('disk', user, 'shared')).rejects.toMatchObject({
      code: 'PATH_INVALID',
      remedy: expect.stringContaining(`uid ${stranger.uid}`),
    })
    const elsewhere = mkdtempSync('/dev/shm/varve-files-')
    const far = join(elsewhere, 'far')
    writeFileSync(far, 'far')
    chownSync(far, owner.uid, owner.gid)
    await expect(jailFiles(inside, owner).place('disk', far, 'shared')).rejects.toMatchObject({
      code: 'PATH_INVALID',
    })
    await jailFiles(inside, owner).place('disk', far, 'read-only')
    expect(readFileSync(join(inside, 'disk'), 'utf8')).toBe('far')
    rmSync(elsewhere, { recursive: true })
  })

  test('outputs come out whole, to another file system too', async () => {
    const files = jailFiles(inside, owner)
    const elsewhere = mkdtempSync('/dev/shm/varve-files-')
    for (const target of [join(directory, 'out'), join(elsewhere, 'out')]) {
      const output = files.output(target)
      writeFileSync(join(inside, output.vmmPath), 'written')
      await output.commit()
      expect(readFileSync(target, 'utf8')).toBe('written')
      expect(readdirSync(inside)).toEqual([])
      output.discard()
    }
    rmSync(elsewhere, { recursive: true })
    await expect(files.output(join(directory, 'none')).commit()).rejects.toMatchObject({
      code: 'PATH_INVALID',
    })
  })

  test('a link in place of an output is not followed', async () => {
    const files = jailFiles(inside, owner)
    const elsewhere = mkdtempSync('/dev/shm/varve-files-')
    for (const target of [join(directory, 'out'), join(elsewhere, 'out')]) {
      const output = files.output(target)
      symlinkSync(user, join(inside, output.vmmPath))
      await expect(output.commit()).rejects.toMatchObject({ code: 'PATH_INVALID' })
      expect(existsSync(target)).toBe(false)
    }
    rmSync(elsewhere, { recursive: true })
    expect(readFileSync(user, 'utf8')).toBe('the user’s')
  })

  test('links in it lead nowhere, wherever in the path they are', async () => {
    const files = jailFiles(inside, owner)
    symlinkSync(user, join(inside, 'link'))
    symlinkSync(directory, join(inside, 'folder'))
    for (const path of ['link', '/link', 'folder/user']) {
      await expect(files.locate(path)).rejects.toMatchObject({ code: 'PATH_INVALID' })
      await expect(files.open(path)).rejects.toMatchObject({ code: 'ELOOP' })
    }
    expect(await files.locate('absent')).toBeUndefined()
    await expect(files.open('absent')).rejects.toMatchObject({ code: 'ENOENT' })
    writeFileSync(join(inside, 'file'), 'inside')
    for (const path of ['file', '/file', '../../file']) {
      await using handle = await files.open(path)
      expect(await handle.readFile('utf8')).toBe('inside')
    }
  })

  test('an output that is a directory, or another name of a file, does not come out', async () => {
    const files = jailFiles(inside, owner)
    const output = files.output(join(directory, 'out'))
    mkdirSync(join(inside, output.vmmPath))
    await expect(output.commit()).rejects.toMatchObject({ code: 'PATH_INVALID' })
    output.discard()
    const second = files.output(join(directory, 'out'))
    linkSync(user, join(inside, second.vmmPath))
    await expect(second.commit()).rejects.toMatchObject({ code: 'PATH_INVALID' })
    second.discard()
    expect(existsSync(join(directory, 'out'))).toBe(false)
    expect(readFileSync(user, 'utf8')).toBe('the user’s')
  })
})

test('a socket path holds 107 bytes, not characters', () => {
  expect(assertSocketPath('x'.repeat(107))).toHaveLength(107)
  for (const path of ['x'.repeat(108), 'é'.repeat(54)])
    expect(() => assertSocketPath(path)).toThrow('more than 107')
})
