import { MicroConsole, touchedPages } from '@varve/lab'
import { captureSnapshot, launchMachine } from 'varve'
import { dataPages, flatten, indexMemoryFile, zeroPages } from 'varve/layers'
import {
  classifyRun,
  minus,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesOf,
  recordMincore,
  union,
} from 'varve/working-sets'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const memoryMib = 64

const world = microWorldOfFile({ onDisk: true })

const list = (set: PageSet): number[] => [...pagesOf(set)]

/** Reads and writes with wide gaps, so that what the kernel reads ahead is told from what was touched. */
const reads = { start: 2000, count: 40, stride: 100, order: 5 }
const writes = { start: 9000, count: 30, stride: 100, order: 6 }
const zeros = { start: 14000, count: 10, stride: 100 }

test('what a restored guest touches is present, what it wrote is in the next Diff, the rest is read-only', async () => {
  const guest = await world.boot({ memoryMib })
  await using machine = guest.machine
  await using console = guest.console
  await console.write({ start: 1000, count: 15000 }, 1)
  const basePaused = await machine.pause()
  const { store } = world
  await captureSnapshot(basePaused, { store, tags: ['base'] })
  const running = await basePaused.resume()
  await console.write({ start: 2000, count: 3000 }, 2)
  await captureSnapshot(await running.pause(), { store, tags: ['one'], parent: 'base' })

  await using chain = await store.open('one')
  const flat = world.path('flat')
  await flatten(chain, flat)

  const launched = await launchMachine(world.launch)
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
  const diffMemory = world.path('diff.memory')
  await (await restored.pause()).snapshot({
    type: 'Diff',
    statePath: world.path('diff.state'),
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
