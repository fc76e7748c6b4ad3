import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { extentMapFromJson, lookupPage } from 'varve/layers'
import { ensurePageServer, processIdentity, startPageServer, Tracee } from 'varve/testing'
import { emptyPageSet, pageRange, type WorkingSet } from 'varve/working-sets'
import { afterAll, describe, expect, test } from 'vitest'
import {
  allPages,
  eventually,
  imagePages,
  memoryPageOf,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  pageBytes,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

const setOf = (pages: number, first: number, count: number): WorkingSet => ({
  image: '1'.repeat(32),
  pages,
  recordedAtMs: 0,
  windowMs: 1,
  readOnly: pageRange(first, count),
  written: emptyPageSet,
  groups: [],
  notes: {},
})

/** Threads of a process that sleep in an event loop; the one that was started last comes last. */
function loopThreads(pid: number): number[] {
  const epollCalls = new Set(['232', '281'])
  return readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .filter((tid) => epollCalls.has(readFileSync(`/proc/${tid}/syscall`, 'utf8').split(' ')[0] as string))
    .sort((a, b) => a - b)
}

const ioctl = 16
const UFFDIO_COPY = 0xc028aa03n

describe('memory that the guest gives back while a working set is fetched', () => {
  test.runIf(process.arch === 'x64')(
    'reads as zero, although the thread that fetches was just about to copy into it',
    async () => {
      await using world = await openPageServerWorld({}, { runtime: ownRuntime })
      const { server } = await ensurePageServer(world.runtime)
      // The main thread, one of V8's, and the one that is kept for the next VM with a working set.
      let threads: number[] = []
      await eventually(() => {
        threads = loopThreads(server.pid)
        return threads.length === 3
      })
      const fetcher = threads.at(-1) as number
      const first = allPages.find((page) => {
        const { source, count } = lookupPage(world.config.map, page)
        return source >= 0 && count >= 30
      }) as number
      const pageServer = await startPageServer({
        ...optionsOf(world),
        workingSet: setOf(imagePages, first, 30),
      })
      // It stands still from here on, until it is told to go on.
      const thread = Tracee.seize(processIdentity(fetcher) as never)
      thread.interrupt()
      thread.wait()
      await world.attach()
      for (;;) {
        thread.go('syscall')
        thread.wait()
        const call = thread.syscallInfo()
        if (call.op === 'entry' && call.number === ioctl && call.args[1] === UFFDIO_COPY) break
      }
      const removed = Array.from({ length: 30 }, (_, index) => first + index)
      let done = false
      const removing = world.vmm.order({ op: 'remove', runs: [[memoryPageOf(first), 30]] }).then(() => {
        done = true
      })
      await Promise.race([removing, new Promise((resolve) => setTimeout(resolve, 500))])
      const doneMeanwhile = done
      thread.detach()
      await removing
      await pageServer.prefetched({ wait: true })
      expect(await words(world, removed)).toEqual(removed.map(() => 0))
      // The guest waited: it must not rely on what a copy may undo.
      expect(doneMeanwhile).toBe(false)
      const others = allPages.filter((page) => !removed.includes(page))
      expect(await words(world, others)).toEqual(others.map(wordOfPage))
    },
  )
})

/** More than 4,096 pages: so many that the removal takes as long as many copies do. */
describe('a large removal', () => {
  const pages = 16_384
  const removedPages = 8192
  const directory = mkdtempSync(join(tmpdir(), 'varve-pages-large-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  const rounds = Number(process.env.VARVE_REMOVAL_ROUNDS ?? 12)

  test(`at any moment of the fetching leaves zeros: ${rounds} rounds`, async () => {
    const layer = join(directory, 'layer')
    const content = new BigUint64Array(pages * 512)
    for (let page = 0; page < pages; page++) content.fill(BigInt(page + 1), page * 512, (page + 1) * 512)
    writeFileSync(layer, content)
    for (let round = 0; round < rounds; round++) {
      await using world = await openPageServerWorld({
        layers: [{ path: layer, pages }],
        map: extentMapFromJson({ pages, runs: [pages, 0, 0] }, [pages]),
      })
      const pageServer = await startPageServer({
        ...optionsOf(world),
        workingSet: setOf(pages, 0, pages),
      })
      const { address } = await world.vmm.order<{ address: number }>({ op: 'memory', pages })
      const region = {
        base_host_virt_addr: address,
        size: pages * pageBytes,
        offset: 0,
        page_size: pageBytes,
      }
      await world.vmm.order({
        op: 'send',
        path: world.config.socketPath,
        parts: [JSON.stringify([region])],
        descriptors: ['uffd'],
      })
      await eventually(async () => (await pageServer.prefetched()).copiedPages > (round % 6) * 1024)
      await world.vmm.order({ op: 'remove', runs: [[4096, removedPages]] })
      await pageServer.prefetched({ wait: true })
      const numbers = Array.from({ length: pages }, (_, page) => page)
      const found = (await world.vmm.order<{ words: number[] }>({ op: 'words', pages: numbers })).words
      const right = (page: number) => (page >= 4096 && page < 4096 + removedPages ? 0 : page + 1)
      expect(numbers.filter((page) => found[page] !== right(page)).length).toBe(0)
    }
  })
})
