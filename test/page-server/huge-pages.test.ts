import { closeSync, existsSync, readFileSync } from 'node:fs'
import type { ProcessIdentity } from 'varve'
import { type ExtentMap, extentMapFromJson, lookupPage } from 'varve/layers'
import {
  createUserfaultfd,
  discardPages,
  isAlive,
  mapAnonymous,
  mapHugePages,
  Pagemap,
  type PageServerClient,
  pageServerFiles,
  populateForReading,
  registerMissing,
  startPageServer,
  UFFD_FEATURE_EVENT_REMOVE,
  UserfaultOps,
} from 'varve/testing'
import { emptyPageSet, pageSetFromPages, type WorkingSet } from 'varve/working-sets'
import { expect, test } from 'vitest'
import { withHugePages } from '../support/huge-pages.js'
import {
  eventually,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  type PageServerWorld,
  pageBytes,
  shuffled,
} from '../support/page-server-world.js'

/** Memory that the kernel takes in frames of 2 MiB: each page must come, whatever frame it lies in. */

const framePages = 512
const imagePages = 6 * framePages
const map: ExtentMap = extentMapFromJson({ pages: imagePages, runs: runs() }, [3000, 3000, 3000])

/** A frame of one layer in a row, one of zeros, and four of runs of one page and more. */
function runs(): number[] {
  const found = [framePages, 1, 1000, framePages, -1, 0]
  let seed = 3
  const next = (limit: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * limit)
  }
  for (let page = 2 * framePages; page < imagePages; ) {
    const count = Math.min(imagePages - page, 1 + next(page < 3 * framePages ? 2 : 90))
    const source = next(4) - 1
    found.push(count, source, source < 0 ? 0 : next(3000 - count))
    page += count
  }
  return found
}

const wordOf = (page: number) => {
  const { source, storedPage } = lookupPage(map, page)
  return source < 0 ? 0 : (source + 1) * 2 ** 32 + storedPage + 1
}
/** The second half of the image comes first in memory, and a frame behind it belongs to no region. */
const half = imagePages / 2
const memoryPageOf = (page: number) => (page < half ? page + half + framePages : page - half)
const all = [...Array(imagePages).keys()]
const memoryFrames = 7

const open = () => openPageServerWorld({ map }, { runtime: ownRuntime })
const kill = ({ pid }: ProcessIdentity) => process.kill(pid, 'SIGKILL')

async function attach({ vmm, config }: PageServerWorld): Promise<void> {
  const memory = { op: 'memory', pages: memoryFrames * framePages, huge: true }
  const { address } = await vmm.order<{ address: number }>(memory)
  const region = (page: number, offset: number) => ({
    base_host_virt_addr: address + page * pageBytes,
    size: half * pageBytes,
    offset: offset * pageBytes,
    page_size: framePages * pageBytes,
    page_size_kib: framePages * pageBytes,
  })
  const parts = [JSON.stringify([region(0, half), region(half + framePages, 0)])]
  await vmm.order({ op: 'send', path: config.socketPath, parts, descriptors: ['uffd'] })
}

const words = async ({ vmm }: PageServerWorld, pages: readonly number[]) =>
  (await vmm.order<{ words: number[] }>({ op: 'words', pages: pages.map(memoryPageOf) })).words

async function successor(pageServer: PageServerClient, of: ProcessIdentity): Promise<ProcessIdentity> {
  let found = await pageServer.processes()
  await eventually(async () => {
    found = await pageServer.processes()
    return found.server.pid !== of.pid && found.guard !== null && isAlive(found.guard)
  })
  return found.server
}

/** Skipped, with loud words, if the host gives no huge pages; a failure in CI. */
const hugeTest = (name: string, work: () => Promise<void>, pages = 2 * memoryFrames) =>
  test(name, async (context) => {
    if (!(await withHugePages(pages, work))) context.skip('the host gives no huge pages')
  })

const frameBytes = framePages * pageBytes

hugeTest(
  'what the kernel does: docs/notes/huge-pages.md',
  async () => {
    using memory = mapHugePages(4 * frameBytes)
    using source = mapAnonymous(2 * frameBytes)
    using untouched = mapAnonymous(frameBytes)
    const fd = createUserfaultfd(UFFD_FEATURE_EVENT_REMOVE)
    try {
      registerMissing(fd, memory.address, memory.lengthBytes)
      const ops = new UserfaultOps(fd)
      // Bytes to copy that are not in its page tables take the kernel a second huge page for the time of the
      // copy.
      populateForReading(source.address, source.lengthBytes)
      const at = (frame: number) => memory.address + frame * frameBytes
      expect(() => ops.copy(at(0), source, 0, pageBytes)).toThrow('EINVAL')
      expect(() => ops.zero(at(0), frameBytes)).toThrow('EINVAL')
      // From any page of the source, and several at once.
      expect(ops.copy(at(0), source, pageBytes, frameBytes)).toBe('installed')
      expect(ops.copy(at(0), source, 0, frameBytes)).toBe('exists')
      expect(() => discardPages(at(0) + pageBytes, pageBytes)).toThrow('EINVAL')
      // Rounded down to nothing: the page is still there.
      discardPages(at(0), pageBytes)
      expect(ops.copy(at(0), source, 0, frameBytes)).toBe('exists')
      expect(ops.removalPending()).toBe(false)
      // No feature was asked for to protect huge pages.
      ops.reportWrites(memory.address, memory.lengthBytes)
      expect(ops.writeProtect(at(0), frameBytes, true)).toBe('installed')
      expect(() => ops.writeProtect(at(0), pageBytes, false)).toThrow('EINVAL')
      expect(() => ops.copy(at(1), untouched, 0, frameBytes)).toThrow('ENOMEM')
      expect(ops.copy(at(1), source, 0, frameBytes, true)).toBe('installed')
      // The host keeps two. The third, which is not there, is said to be.
      expect(ops.copy(at(2), source, 0, frameBytes)).toBe('exists')
      // What protects a missing frame stands in the page tables in its place.
      using pagemap = new Pagemap(process.pid)
      const found = () => {
        const frames: number[] = []
        pagemap.forEachRun(at(0), at(4), (start, end) => {
          for (let frame = start; frame < end; frame += frameBytes) frames.push((frame - at(0)) / frameBytes)
        })
        return frames
      }
      const present = () => [0, 1, 2, 3].filter((frame) => pagemap.isPresent(at(frame)))
      expect([found(), present()]).toEqual([
        [0, 1],
        [0, 1],
      ])
      expect(ops.writeProtect(at(3), frameBytes, true)).toBe('installed')
      expect(present()).toEqual([0, 1])
      if (pagemap.way === 'PAGEMAP_SCAN') expect(found()).toEqual([0, 1, 3])
      expect(ops.writeProtect(at(3), frameBytes, false)).toBe('installed')
      expect(found()).toEqual([0, 1])
    } finally {
      closeSync(fd)
    }
  },
  2,
)

hugeTest('each page is right, in any order, and a frame takes one fault', async () => {
  await using world = await open()
  const pageServer = await startPageServer(optionsOf(world))
  await attach(world)
  const order = shuffled(all)
  expect(await words(world, order)).toEqual(order.map(wordOf))
  expect(await pageServer.stats()).toMatchObject({ faults: 6, copiedPages: imagePages, existing: 0 })
  expect([world.death(), world.log()]).toEqual([undefined, ''])
})

hugeTest(
  'a server that is killed leaves frames to its successor, and what was given back stays zero',
  async () => {
    await using world = await open()
    const pageServer = await startPageServer(optionsOf(world))
    await attach(world)
    expect(await words(world, [5, 2100])).toEqual([5, 2100].map(wordOf))
    // The fifth frame of the image is missing, the first is there.
    for (const frame of [4, 0])
      await world.vmm.order({ op: 'remove', runs: [[memoryPageOf(frame * framePages), framePages]] })
    // The guest goes on as soon as the server has read of it; the server notes it right after that.
    await eventually(() => {
      if (!existsSync(world.files.removed)) return false
      const noted = readFileSync(world.files.removed)
      return noted[0] === 0 && noted[8] === 0xff
    })
    const { server } = await pageServer.processes()
    kill(server)
    await successor(pageServer, server)
    const gone = (page: number) => [0, 4].includes(Math.floor(page / framePages))
    expect(await words(world, shuffled(all))).toEqual(
      shuffled(all).map((page) => (gone(page) ? 0 : wordOf(page))),
    )
    expect([world.death(), world.log()]).toEqual([undefined, ''])
    expect(JSON.parse(readFileSync(pageServerFiles(world.directory).state, 'utf8'))).toMatchObject({
      version: 2,
    })
  },
)

hugeTest('a working set brings the frames that it has pages in', async () => {
  await using world = await open()
  const set: WorkingSet = {
    image: '1'.repeat(32),
    pages: imagePages,
    recordedAtMs: 0,
    windowMs: 1,
    readOnly: pageSetFromPages([700, 1100, 1101, 2900]),
    written: emptyPageSet,
    groups: [{ atMs: 0, set: pageSetFromPages([2900]) }],
    notes: {},
  }
  const pageServer = await startPageServer({ ...optionsOf(world), workingSet: set })
  await attach(world)
  expect(await pageServer.prefetched({ wait: true })).toMatchObject({
    state: 'finished',
    failure: null,
    plannedPages: 3 * framePages,
    copiedPages: 2 * framePages,
    zeroPages: framePages,
  })
  const brought = all.filter((page) => [1, 2, 5].includes(Math.floor(page / framePages)))
  expect(await words(world, brought)).toEqual(brought.map(wordOf))
  expect((await pageServer.stats()).faults).toBe(0)
  expect(await words(world, all)).toEqual(all.map(wordOf))
  expect((await pageServer.stats()).faults).toBe(3)
})

hugeTest('graduates: then its server’s death concerns no page', async () => {
  await using world = await open()
  const pageServer = await startPageServer({ ...optionsOf(world), graduate: true })
  await attach(world)
  expect(await pageServer.graduation({ wait: true })).toMatchObject({
    state: 'finished',
    failure: null,
    copiedPages: 5 * framePages,
  })
  kill(pageServer.identity)
  await eventually(() => !isAlive(pageServer.identity))
  expect(await words(world, shuffled(all))).toEqual(shuffled(all).map(wordOf))
  expect(world.death()).toBeUndefined()
})

hugeTest('a recording has whole frames as touched, and pages that differ as written', async () => {
  await using world = await open()
  const pageServer = await startPageServer(optionsOf(world))
  await attach(world)
  await pageServer.record({ writes: true })
  await words(world, [3 * framePages + 7])
  await world.vmm.order({
    op: 'write',
    pages: [memoryPageOf(3), memoryPageOf(9)],
    word: 77,
    readFirst: false,
  })
  await world.vmm.order({ op: 'write', pages: [memoryPageOf(2 * framePages + 1)], word: 78, readFirst: true })
  const { touched, written, unchanged, unitPages } = await pageServer.recorded({ next: 'stop' })
  const wholes = (frames: readonly number[]) =>
    frames.flatMap((it) => all.slice(it * framePages, (it + 1) * framePages))
  const sorted = (pages: readonly number[]) => [...pages].sort((a, b) => a - b)
  expect(touched).toEqual(pageSetFromPages(sorted(wholes([0, 2, 3]))))
  expect(written).toEqual(pageSetFromPages([3, 9, 2 * framePages + 1]))
  expect(unitPages).toBe(framePages)
  expect(unchanged?.pages).toBe(2 * framePages - 3)
  expect(await words(world, [3, 9, 4, 5 * framePages])).toEqual([77, 77, wordOf(4), wordOf(5 * framePages)])
})

for (const when of ['', ', also while writes are recorded'])
  hugeTest(
    `a VM for which the host has no huge page left is killed, and the reason says so${when}`,
    async () => {
      await using world = await open()
      const pageServer = await startPageServer(optionsOf(world))
      await attach(world)
      if (when !== '') await pageServer.record({ writes: true })
      void words(world, all).catch(() => {})
      expect((await world.vmmEnded).signal).toBe('SIGKILL')
      expect(world.death()?.detail).toContain('raise vm.nr_hugepages')
    },
    4,
  )
