import { type ChildProcess, fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { flattenSnapshot, type LocalStore, openLocalStore } from 'varve'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { addSnapshot, imageOf, someplan } from '../support/store-world.js'

const worker = fileURLToPath(new URL('../support/derived-worker.mjs', import.meta.url))
const processes = 4
const rounds = 25

let directory: string
let store: LocalStore
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-derived-'))
  store = await openLocalStore(join(directory, 'store'), { create: true })
  const base = await addSnapshot(store, someplan(1), { tags: ['base'] })
  await addSnapshot(store, someplan(2), { parent: base.id, tags: ['child'] })
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const flats = () => readdirSync(store.repository.paths.flat)
const sha256 = createHash('sha256')
  .update(imageOf([someplan(1), someplan(2)]))
  .digest('hex')

async function flatten() {
  await using snapshot = await store.open('child')
  return await flattenSnapshot(snapshot)
}

test('processes that make the flat file of one snapshot at once all get it whole, and one of them makes it', async () => {
  const workers: ChildProcess[] = []
  try {
    for (let i = 0; i < processes; i++) workers.push(fork(worker, [store.location, 'child']))
    await Promise.all(workers.map((it) => once(it, 'message')))
    for (let round = 0; round < rounds; round++) {
      for (const name of flats()) rmSync(join(store.repository.paths.flat, name))
      const answers = workers.map((it) => once(it, 'message'))
      for (const it of workers) it.send('go')
      const found = (await Promise.all(answers)).map(([answer]) => answer as Record<string, string>)
      expect(
        found.map(({ error, sha256: sum }) => error ?? sum),
        `round ${round}`,
      ).toEqual(found.map(() => sha256))
      expect(found.filter(({ origin }) => origin === 'made').length, `round ${round}`).toBe(1)
    }
  } finally {
    for (const it of workers) it.disconnect()
    await Promise.all(workers.map((it) => it.exitCode ?? once(it, 'exit')))
  }
}, 60_000)

test('a flat file that was changed, or has no mark, is made again; a VM that has the old one keeps it', async () => {
  const { path, origin } = await flatten()
  expect(origin).toBe('made')
  expect((await flatten()).origin).toBe('found')
  const open = openSync(path, 'r')
  const before = fstatSync(open)
  rmSync(`${path}.mark`)
  expect((await flatten()).origin).toBe('made')
  expect(statSync(path).ino).not.toBe(before.ino)
  writeFileSync(path, 'short')
  expect((await flatten()).origin).toBe('made')
  expect(createHash('sha256').update(readFileSync(path)).digest('hex')).toBe(sha256)
  expect(createHash('sha256').update(readFileSync(open)).digest('hex')).toBe(sha256)
  closeSync(open)
  expect((await flatten()).origin).toBe('found')
})
