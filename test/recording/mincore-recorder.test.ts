import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest, MicroConsole, touchedPages } from '@varve/lab'
import {
  captureSnapshot,
  classifyRun,
  dataPages,
  flatten,
  indexMemoryFile,
  launchMachine,
  minus,
  openLocalStore,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesOf,
  recordMincore,
  union,
  zeroPages,
} from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.js'

const memoryMib = 64

let world: World
/** On disk also where os.tmpdir() is a tmpfs, whose pages never leave the page cache. */
let disk: string
beforeAll(async () => {
  world = await openWorld()
  disk = mkdtempSync('/var/tmp/varve-mincore-')
})
afterAll(async () => {
  rmSync(disk, { recursive: true })
  await world[Symbol.asyncDispose]()
})

const launch = () => ({ binary: world.binary, runtimeDirectory: world.runtimeDirectory })

const list = (set: PageSet): number[] => [...pagesOf(set)]

/** Reads and writes with wide gaps, so that what the kernel reads ahead is told from what was touched. */
const reads = { start: 2000, count: 40, stride: 100, order: 5 }
const writes = { start: 9000, count: 30, stride: 100, order: 6 }
const zeros = { start: 14000, count: 10, stride: 100 }

test('what a restored guest touches is present, what it wrote is in the next Diff, the rest is read-only', async () => {
  const guest = await bootMicroGuest({ memoryMib, ...launch() })
  await using machine = guest.machine
  await using console = guest.console
  await console.write({ start: 1000, count: 15000 }, 1)
  const basePaused = await machine.pause()
  const store = await openLocalStore(join(disk, 'store'), { create: true })
  await captureSnapshot(basePaused, { store, tags: ['base'] })
  const running = await basePaused.resume()
  await console.write({ start: 2000, count: 3000 }, 2)
  await captureSnapshot(await running.pause(), { store, tags: ['one'], parent: 'base' })

  await using chain = await store.open('one')
  const flat = join(disk, 'flat')
  await flatten(chain, flat)

  const launched = await launchMachine(launch())
  await using _launched = launched
  await using twin = MicroConsole.attach(launched.paths)
  await using recording = await recordMincore({
    files: [{ path: flat, storedPages: chain.map.pages }],
    vmm: launched.identity,
  })
  const restored = await launched.loadAndResume({
    statePath: chain.statePath,
    memory: { backend: 'File', path: flat },
  })
  await twin.read(reads)
  await recording.scan()
  await twin.write(writes, 3)
  await twin.zero(zeros)
  const recorded = await recording.stop()
  const present = recorded.present as PageSet
  const diffMemory = join(disk, 'diff.memory')
  await (await restored.pause()).snapshot({
    type: 'Diff',
    statePath: join(disk, 'diff.state'),
    memoryPath: diffMemory,
  })
  const { index: nextDiff } = await indexMemoryFile(diffMemory, { kind: 'diff' })

  const [readPages, writtenPages, zeroedPages] = [reads, writes, zeros].map((pattern) =>
    pageSetFromPages(touchedPages(pattern)),
  ) as [PageSet, PageSet, PageSet]
  const touched = union(readPages, union(writtenPages, zeroedPages))
  expect(list(minus(touched, present))).toEqual([])
  // More is present than was touched: the kernel reads around each fault (docs/notes/mincore-overcount.md).
  // The first look came between the reads and the writes.
  expect(list(minus(readPages, recorded.groups[0]?.set as PageSet))).toEqual([])

  // Below 2 MiB lie the guest's own pages and those of Firecracker (VMGenID); all else was told.
  const below = pageSetFromRuns([{ start: 0, count: 512 }])
  expect(list(minus(dataPages(nextDiff), below))).toEqual(list(writtenPages))
  expect(list(minus(zeroPages(nextDiff), below))).toEqual(list(zeroedPages))

  const { sets } = classifyRun({ map: chain.map, present, nextDiff })
  expect(list(minus(readPages, sets['read-only']))).toEqual([])
  expect(list(minus(union(writtenPages, zeroedPages), sets.written))).toEqual([])
})
