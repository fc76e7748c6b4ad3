import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findBinaries } from './find-binaries.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-binaries-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

/** A program that says no more than which Firecracker it is. */
function pretend(name: string, words: string, mode = 0o755): string {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `#!/bin/sh\necho '${words}'\n`, { mode })
  return path
}

const labels = async (paths: readonly string[], env: NodeJS.ProcessEnv = { PATH: '' }) =>
  (await findBinaries(paths, { ...process.env, ...env })).map(({ label }) => label)

test('a folder has those of releases and those in folders of their own, oldest first', async () => {
  pretend('firecracker-v1.16.1-x86_64', 'Firecracker v1.16.1')
  pretend('firecracker-v1.16.1-x86_64.debug', 'Firecracker v1.16.1')
  pretend('jailer-v1.16.1-x86_64', 'Jailer v1.16.1')
  pretend('firecracker-v1.2.0-x86_64', 'Firecracker v1.2.0', 0o644)
  pretend('old/firecracker', 'Firecracker v1.9.1')
  pretend('main/firecracker', 'Firecracker v1.17.0-dev')
  expect(await labels([folder])).toEqual(['1.9.1', '1.16.1', '1.17.0'])
})

test('of a folder only those count that a boot or restore would take from it', async () => {
  const own = pretend('own/firecracker', 'Firecracker v1.12.1')
  pretend('shared/firecracker', 'Firecracker v1.14.4')
  chmodSync(join(folder, 'shared'), 0o777)
  expect((await findBinaries([folder])).map(({ path }) => path)).toEqual([own])
  await expect(findBinaries([join(folder, 'shared')])).rejects.toMatchObject({
    code: 'BINARY_NOT_FOUND',
    message: expect.stringContaining('other users may write to its folder'),
  })
})

test('each once; two of one version are told apart', async () => {
  const one = pretend('a/firecracker', 'Firecracker v1.12.1')
  const other = pretend('b/firecracker', 'Firecracker v1.12.1')
  symlinkSync(one, join(folder, 'firecracker'))
  expect(await labels([one, other, folder])).toEqual(['1.12.1', '1.12.1 (2)'])
})

test('one that tells no version is a column all the same, the last, with what is wrong', async () => {
  const wrong = pretend('firecracker', 'hello')
  const right = pretend('right/firecracker', 'Firecracker v1.12.1')
  const found = await findBinaries([folder])
  expect(found.map(({ label, path }) => ({ label, path }))).toEqual([
    { label: '1.12.1', path: right },
    { label: 'firecracker', path: wrong },
  ])
  expect(found[1]).toMatchObject({ binary: null, problem: expect.stringContaining('no Firecracker version') })
})

test.each([
  ['a path that is not there', () => join(folder, 'nothing'), 'there is no '],
  ['a file that is not executable', () => pretend('firecracker', 'x', 0o644), 'is not an executable file'],
  ['a folder without any', () => folder, 'no Firecracker in '],
])('%s is BINARY_NOT_FOUND', async (_, path, words) => {
  await expect(findBinaries([path()])).rejects.toMatchObject({
    code: 'BINARY_NOT_FOUND',
    message: expect.stringContaining(words),
  })
})

test('without paths: those of $VARVE_FIRECRACKER_DIR, and the usual one', async () => {
  pretend('all/firecracker', 'Firecracker v1.10.1')
  const FIRECRACKER = pretend('usual', 'Firecracker v1.14.4')
  expect(await labels([], { FIRECRACKER })).toEqual(['1.14.4'])
  const VARVE_FIRECRACKER_DIR = join(folder, 'all')
  expect(await labels([], { FIRECRACKER, VARVE_FIRECRACKER_DIR })).toEqual(['1.10.1', '1.14.4'])
  expect(await labels([], { FIRECRACKER: join(folder, 'gone'), VARVE_FIRECRACKER_DIR })).toEqual(['1.10.1'])
})
