import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openLocalStore } from 'varve'
import { expect, test } from 'vitest'

const worker = fileURLToPath(new URL('../support/store-worker.mjs', import.meta.url))
const seconds = 8

test('processes that capture, restore and collect at once lose nothing', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-concurrency-'))
  try {
    const location = join(directory, 'store')
    const store = await openLocalStore(location, { create: true })
    const work = async (role: string, index: number) => {
      const scratch = join(directory, `scratch-${index}`)
      mkdirSync(scratch)
      // Fails if a worker does, with its words.
      const { stdout } = await promisify(execFile)(process.execPath, [
        worker,
        role,
        location,
        scratch,
        String(seconds),
      ])
      return JSON.parse(stdout) as Record<string, number>
    }
    // All have ended before the directory is removed: a failure is not hidden by that.
    const ended = await Promise.allSettled(['capture', 'capture', 'restore', 'restore', 'gc'].map(work))
    const did = ended.map((it) => {
      if (it.status === 'rejected') throw it.reason
      return it.value
    })
    const total = (what: string) => did.reduce((sum, it) => sum + (it[what] ?? 0), 0)
    expect(total('captured')).toBeGreaterThan(5)
    expect(total('restored')).toBeGreaterThan(5)
    expect(total('collected something')).toBeGreaterThan(0)
    await store.gc()
    expect((await store.fsck()).findings).toEqual([])
    for (const { id } of await store.list()) {
      const snapshot = await store.open(id)
      await snapshot[Symbol.asyncDispose]()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}, 60_000)
