import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeEmptyDisk, writeFolderDisk } from './folder-disk.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-folders-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, TZ: 'UTC' }
const isSound = (disk: string) => spawnSync('e2fsck', ['-f', '-n', disk], { env }).status === 0
const debugfs = (disk: string, command: string) =>
  execFileSync('debugfs', ['-R', command, disk], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })

/** The same files, written in another order and at another time. */
function files(name: string, order: readonly number[], seconds: number): string {
  const root = join(folder, name)
  mkdirSync(join(root, 'a folder/deeper'), { recursive: true })
  for (const i of order) {
    const path = join(root, 'a folder/deeper', `file ${i}`)
    writeFileSync(path, `${i} `.repeat(i * 1000), { mode: i % 2 === 0 ? 0o755 : 0o644 })
    utimesSync(path, seconds, seconds)
  }
  symlinkSync('deeper/file 3', join(root, 'a folder/link'))
  writeFileSync(join(root, 'größe "x"'), 'quoted')
  return root
}

test('equal files give equal disks, sound ones, in which all belongs to root', async () => {
  const order = [1, 2, 3, 4, 5]
  const one = files('one', order, 1_000_000_000)
  const two = files('two', order.toReversed(), 1_700_000_000)
  const digests = []
  for (const root of [one, two]) {
    await writeFolderDisk(root, `${root}.ext4`, { roomBytes: 0 })
    digests.push(
      createHash('sha256')
        .update(readFileSync(`${root}.ext4`))
        .digest('hex'),
    )
  }
  expect(digests[1]).toBe(digests[0])
  expect(isSound(`${one}.ext4`)).toBe(true)
  // Inode, mode, type, owner, group, size, date, name.
  const rows = debugfs(`${one}.ext4`, 'ls -l "/a folder/deeper"').split('\n')
  expect(
    rows.filter((row) => row.includes('file ')).map((row) => row.trim().split(/\s+/).slice(1, 6)),
  ).toEqual(order.map((i) => [i % 2 === 0 ? '100755' : '100644', '(1)', '0', '0', `${i * 2000}`]))
  expect(debugfs(`${one}.ext4`, 'cat "/a folder/deeper/file 3"')).toBe('3 '.repeat(3000))
  expect(debugfs(`${one}.ext4`, 'stat "/a folder/link"')).toContain('Fast link dest: "deeper/file 3"')
  expect(debugfs(`${one}.ext4`, 'cat "/größe ""x"""')).toBe('quoted')
})

test('nothing is left of the work, and holes stay holes', async () => {
  const root = join(folder, 'sparse')
  mkdirSync(root)
  writeFileSync(join(root, 'holes'), 'begin')
  truncateSync(join(root, 'holes'), 50 * 2 ** 20)
  const before = readdirSync(tmpdir()).filter((it) => it.startsWith('varve-folder-'))
  await writeFolderDisk(root, `${root}.ext4`, { roomBytes: 0 })
  expect(readdirSync(tmpdir()).filter((it) => it.startsWith('varve-folder-'))).toEqual(before)
  expect(statSync(`${root}.ext4`).size).toBeGreaterThan(50 * 2 ** 20)
  expect(statSync(`${root}.ext4`).blocks * 512).toBeLessThan(4 * 2 ** 20)
})

test('an empty disk has the size that was asked for', async () => {
  const disk = join(folder, 'empty.ext4')
  await writeEmptyDisk(disk, { sizeBytes: 16 * 2 ** 20 })
  expect(statSync(disk).size).toBe(16 * 2 ** 20)
  expect(isSound(disk)).toBe(true)
})

test('a pipe is refused', async () => {
  const root = join(folder, 'odd')
  mkdirSync(root)
  execFileSync('mkfifo', [join(root, 'pipe')])
  await expect(writeFolderDisk(root, `${root}.ext4`)).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
})
