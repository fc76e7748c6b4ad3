import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { isAlive, pageServerRoot, startPageServer } from 'varve/testing'
import { expect, test } from 'vitest'
import {
  allPages,
  eventually,
  isZeroPage,
  memoryPageOf,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

const openWorld = () => openPageServerWorld({}, { runtime: ownRuntime })
const dataPages = allPages.filter((page) => !isZeroPage(page))

test('brings all that nobody asked for; then the server’s death is nobody’s concern', async () => {
  await using world = await openWorld()
  const pageServer = await startPageServer({ ...optionsOf(world), graduate: true })
  expect(await pageServer.graduation()).toEqual({
    state: 'waiting',
    failure: null,
    copiedPages: 0,
    ms: null,
  })
  await expect(pageServer.record({ writes: false })).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
  await world.attach()
  const some = shuffled(allPages).slice(0, 500)
  expect(await words(world, some)).toEqual(some.map(wordOfPage))
  const report = await pageServer.graduation({ wait: true })
  expect(report).toMatchObject({ state: 'finished', failure: null })
  expect(report.copiedPages).toBeGreaterThan(0)
  expect(report.copiedPages).toBeLessThanOrEqual(dataPages.length)
  await eventually(() => readdirSync(pageServerRoot(world.runtime).vms).length === 0)
  expect(existsSync(world.config.controlPath)).toBe(false)
  process.kill(pageServer.identity.pid, 'SIGKILL')
  await eventually(() => !isAlive(pageServer.identity))
  expect(await words(world, shuffled(allPages))).toEqual(shuffled(allPages).map(wordOfPage))
  expect(world.death()).toBeUndefined()
  // Any process can still ask.
  expect(await pageServer.graduation()).toEqual(report)
  expect((await pageServer.stats()).copiedPages + report.copiedPages).toBe(dataPages.length)
  await expect(pageServer.prefetched()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

test('what the guest gives back meanwhile, or gave back before, stays zero', async () => {
  await using world = await openWorld()
  const pageServer = await startPageServer({ ...optionsOf(world), graduate: true })
  await world.attach()
  const runs = allPages.filter((page) => page % 10 === 3).map((page) => [memoryPageOf(page), 2])
  const removed = (page: number) => page % 10 === 3 || page % 10 === 4
  const kept = shuffled(allPages.filter((page) => !removed(page)))
  const { words: during } = await world.vmm.order<{ words: number[] }>({
    op: 'balloon',
    runs,
    pages: kept.map(memoryPageOf),
  })
  expect(during).toEqual(kept.map(wordOfPage))
  expect(await pageServer.graduation({ wait: true })).toMatchObject({ state: 'finished' })
  expect(await words(world, allPages)).toEqual(allPages.map((page) => (removed(page) ? 0 : wordOfPage(page))))
})

test('of several VMs each graduates for itself, beside one that does not', async () => {
  await using first = await openWorld()
  await using second = await openPageServerWorld({}, { runtime: first.runtime })
  await using third = await openPageServerWorld({}, { runtime: first.runtime })
  const servers = [
    await startPageServer({ ...optionsOf(first), graduate: true }),
    await startPageServer({ ...optionsOf(second), graduate: true }),
  ]
  const plain = await startPageServer(optionsOf(third))
  const worlds = [first, second, third]
  for (const world of worlds) await world.attach()
  const found = await Promise.all(worlds.map((world) => words(world, shuffled(allPages))))
  for (const it of found) expect(it).toEqual(shuffled(allPages).map(wordOfPage))
  for (const server of servers) expect((await server.graduation({ wait: true })).state).toBe('finished')
  await expect(plain.graduation()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect((await plain.stats()).faults).toBeGreaterThan(0)
})

test('a server that is killed on the way leaves the rest to its successor', async () => {
  await using world = await openWorld()
  const pageServer = await startPageServer({ ...optionsOf(world), graduate: true })
  await world.attach()
  expect(await words(world, [1])).toEqual([wordOfPage(1)])
  process.kill(pageServer.identity.pid, 'SIGKILL')
  expect((await pageServer.graduation({ wait: true })).state).toBe('finished')
  expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  expect(world.death()).toBeUndefined()
})

test('a layer that was cut off ends the graduation, not yet the VM', async () => {
  await using world = await openWorld()
  const pageServer = await startPageServer({ ...optionsOf(world), graduate: true })
  for (const { path } of world.config.layers) writeFileSync(path, '')
  await world.attach()
  const report = await pageServer.graduation({ wait: true })
  expect(report).toMatchObject({ state: 'failed', failure: expect.stringContaining('EFAULT') })
  expect(await words(world, allPages.filter(isZeroPage).slice(0, 5))).toEqual([0, 0, 0, 0, 0])
})
