import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { touchedPages } from '@varve/lab'
import { captureSnapshot, isVarveError } from 'varve'
import { dataPages } from 'varve/layers'
import { minus, pageSetFromPages } from 'varve/working-sets'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

/** Scattered, so that Firecracker writes them one by one: some 40 ms, in which to abort. */
const written = { start: 1000, count: 8000, stride: 3, order: 5 }

test('after a Diff that was aborted on its way, no further Diff is taken over the old parent', async () => {
  await using booted = await world.boot({
    memoryMib: 128,
  })
  const { machine, console: guest } = booted
  let paused = await machine.pause()
  const { store } = world
  await captureSnapshot(paused, { store, tags: ['base'] })
  const running = await paused.resume()
  await guest.write(written, 1)
  paused = await running.pause()

  // Once the memory file is open, Firecracker writes the Diff to its end and clears the
  // log, even if no caller listens.
  const aborter = new AbortController()
  const aborted = captureSnapshot(paused, { store, parent: 'base', signal: aborter.signal }).then(
    () => 'taken',
    (error: unknown) => error,
  )
  while (!stagedFiles().some((name) => name.endsWith('/memory'))) await sleep(0)
  aborter.abort()
  const outcome = await aborted
  expect(isVarveError(outcome, 'INTERRUPTED'), String(outcome)).toBe(true)

  const again = await captureSnapshot(paused, { store, parent: 'base' }).catch((error: unknown) => error)
  if (!(again instanceof Error)) {
    const { layer } = again as Awaited<ReturnType<typeof captureSnapshot>>
    const lost = minus(pageSetFromPages(touchedPages(written)), dataPages(layer.index))
    expect.fail(`a Diff was taken that lacks ${lost.pages} written pages`)
  }
  expect(isVarveError(again, 'IMAGE_MISMATCH'), String(again)).toBe(true)
  expect(stagedFiles()).toEqual([])
  // A Full is always right, and Diffs go on from it.
  await captureSnapshot(paused, { store, tags: ['full'] })
  await captureSnapshot(paused, { store, parent: 'full' })
})

/** Everything in the store's staging. */
const stagedFiles = () =>
  readdirSync(world.path('store/varve/staging'), { recursive: true, encoding: 'utf8' })
