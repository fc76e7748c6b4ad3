import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ext4Image } from '@varve/lab/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-images-'))
})
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
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
  return root
}

async function image(root: string): Promise<{ path: string; digest: string }> {
  const path = `${root}.ext4`
  await ext4Image(root, path)
  return { path, digest: createHash('sha256').update(readFileSync(path)).digest('hex') }
}

test('equal files give equal images, sound ones, in which all belongs to root', async () => {
  const order = [1, 2, 3, 4, 5]
  const one = await image(files('one', order, 1_000_000_000))
  const two = await image(files('two', order.toReversed(), 1_700_000_000))
  expect(two.digest).toBe(one.digest)
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }
  expect(spawnSync('e2fsck', ['-f', '-n', one.path], { env }).status).toBe(0)
  const { stdout } = spawnSync('debugfs', ['-R', 'ls -l "/a folder/deeper"', one.path], {
    env,
    encoding: 'utf8',
  })
  const rows = stdout
    .trim()
    .split('\n')
    .filter((row) => row.includes('file '))
  // Inode, mode, type, owner, group, size, date, name.
  expect(rows.map((row) => row.trim().split(/\s+/).slice(3, 6).join(' '))).toEqual(
    [1, 2, 3, 4, 5].map((i) => `0 0 ${i * 2000}`),
  )
})

test('a file name that debugfs would misread is refused', async () => {
  const root = join(folder, 'odd')
  mkdirSync(root)
  writeFileSync(join(root, 'a"b'), '')
  await expect(ext4Image(root, join(folder, 'odd.ext4'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
