import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { pageServerRoot, startPageServer } from 'varve/testing'
import { emptyPageSet, pageSetFromPages, type WorkingSet } from 'varve/working-sets'
import { expect, test } from 'vitest'
import {
  allPages,
  ask,
  eventually,
  imagePages,
  isZeroPage,
  memoryPageOf,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  type PageServerWorld,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

const wanted = allPages.slice(0, 1500)
const workingSet: WorkingSet = {
  image: '1'.repeat(32),
  pages: imagePages,
  recordedAtMs: 0,
  windowMs: 1,
  readOnly: pageSetFromPages(wanted),
  written: emptyPageSet,
  groups: [],
  notes: {},
}

/**
 * More restores than there are CPUs look for the server, again and again: for the 250 ms that a rush may
 * last, no set is brought.
 */
function keepComing(control: string): Disposable {
  const coming = new AbortController()
  const ended = (async () => {
    while (!coming.signal.aborted) {
      const lines = '{"op":"processes"}\n'.repeat(availableParallelism() + 1)
      await ask(control, lines, availableParallelism() + 1)
      await sleep(2)
    }
  })()
  ended.catch(() => {})
  return { [Symbol.dispose]: () => coming.abort() }
}

/** A VM that was attached in a rush, and that has had `pages` answered before its set was begun. */
async function attachedInRush(world: PageServerWorld, pages: readonly number[]) {
  const { control } = pageServerRoot(world.runtime)
  // Has the thread that fetches ahead running.
  await using before = await openPageServerWorld({}, { runtime: world.runtime })
  const served = await startPageServer({ ...optionsOf(before), workingSet })
  await before.attach()
  await served.prefetched({ wait: true })
  using _coming = keepComing(control)
  await sleep(10)
  const pageServer = await startPageServer({ ...optionsOf(world), workingSet })
  await world.attach()
  const found = await words(world, pages)
  await sleep(restMs)
  const { state, copiedPages, zeroPages } = await pageServer.prefetched()
  return { pageServer, found, untouched: state === 'running' && copiedPages + zeroPages === 0 }
}

/** Several times as long as the set takes otherwise, and well within a rush. */
const restMs = 100
/** A busy machine may take longer than a rush lasts; so may one of a few tries. */
const tries = 5

test('while more VMs than CPUs come in, demand is answered, and the set waits; then it comes', async () => {
  const few = [3, 700, 2900]
  const seen: boolean[] = []
  while (seen.length < tries && !seen.includes(true)) {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    const { pageServer, found, untouched } = await attachedInRush(world, few)
    expect(found).toEqual(few.map(wordOfPage))
    seen.push(untouched)
    const { state, copiedPages, zeroPages, existingPages } = await pageServer.prefetched({ wait: true })
    expect(state).toBe('finished')
    expect(copiedPages + zeroPages + existingPages).toBe(wanted.length)
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  }
  expect(seen).toContain(true)
})

test('what the guest gives back meanwhile is not brought', async () => {
  await using world = await openPageServerWorld({}, { runtime: ownRuntime })
  const { pageServer } = await attachedInRush(world, [3])
  const removed = wanted.filter((page) => page % 10 < 2)
  const runs = removed.filter((page) => page % 10 === 0).map((page) => [memoryPageOf(page), 2])
  await world.vmm.order({ op: 'remove', runs })
  expect(['halted', 'finished']).toContain((await pageServer.prefetched({ wait: true })).state)
  expect(await words(world, removed)).toEqual(removed.map(() => 0))
  const kept = allPages.filter((page) => !removed.includes(page) && !isZeroPage(page))
  expect(await words(world, kept)).toEqual(kept.map(wordOfPage))
})

test('a VM that ends meanwhile is left at once', async () => {
  await using world = await openPageServerWorld({}, { runtime: ownRuntime })
  const { control, vms } = pageServerRoot(world.runtime)
  await attachedInRush(world, [3])
  using _coming = keepComing(control)
  world.vmm.child.kill('SIGKILL')
  await eventually(() => readdirSync(vms).length === 0)
})
