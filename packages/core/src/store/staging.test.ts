import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lock } from '../sys/file-lock.js'
import { deadStagings, makeStaging } from './staging.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-staging-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('a staging is dead once its owner is', async () => {
  await using staging = await makeStaging(directory)
  expect(await deadStagings(directory)).toEqual([])
  rmSync(join(staging.directory, 'owner'))
  expect(await deadStagings(directory)).toEqual([staging.directory])
})

test('whoever looks for dead ones does not keep an owner from removing its own', async () => {
  // As the store does it: a staging is made, and dead ones are looked for, under its lock,
  // but the owner removes without.
  await using store = await lockFile()
  let ended = false
  const looking = (async () => {
    while (!ended) await store.locked(() => deadStagings(directory))
  })()
  try {
    for (let round = 0; round < 300; round++) {
      await using staging = await store.locked(() => makeStaging(directory))
      for (const name of ['state', 'memory', 'zzz']) writeFileSync(join(staging.directory, name), name)
    }
  } finally {
    ended = true
    await looking
  }
  expect(readdirSync(directory)).toEqual([])
})

async function lockFile() {
  const path = join(mkdtempSync(join(tmpdir(), 'varve-lock-')), 'lock')
  return {
    locked: async <T>(work: () => Promise<T>): Promise<T> => {
      await using _held = await lock(path)
      return await work()
    },
    [Symbol.asyncDispose]: async () => rmSync(dirname(path), { recursive: true }),
  }
}
