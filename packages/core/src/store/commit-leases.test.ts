import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { digestOf } from '../content/descriptors.js'
import { CommitLeases, endCommitLeases } from './commit-leases.js'
import { readLeases } from './leases.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-commit-leases-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true, force: true })
})

const idOf = (n: number) => n.toString(16).padStart(32, '0')
const snapshots = async () => (await readLeases(directory)).live.map(({ snapshot }) => snapshot).sort()

function give(n: number): CommitLeases {
  const leases = new CommitLeases(directory, ['this process'])
  leases.give(idOf(n), digestOf(idOf(n).repeat(2)))
  return leases
}

test('a process keeps the leases of its last 64 commits, and so no more descriptors', async () => {
  for (let n = 0; n < 70; n++) give(n).keep()
  expect(await snapshots()).toEqual(Array.from({ length: 64 }, (_, i) => idOf(i + 6)))
  endCommitLeases(directory, idOf(40))
  expect(await snapshots()).toHaveLength(63)
  for (let n = 0; n < 70; n++) endCommitLeases(directory, idOf(n))
  expect(readdirSync(directory)).toEqual([])
})

test('a commit that fails leaves none', async () => {
  const leases = give(1)
  expect(await snapshots()).toEqual([idOf(1)])
  leases.drop()
  expect(readdirSync(directory)).toEqual([])
})
