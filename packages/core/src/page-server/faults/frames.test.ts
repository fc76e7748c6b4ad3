import { closeSync, mkdtempSync, openSync, readSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { VarveError } from '../../errors.js'
import { type ExtentMap, lookupPage, zeroSource } from '../../layer/extent-map.js'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import { framePages, hugePageBytes, pageSizeBytes } from '../../memory/units.js'
import { type MemoryMapping, mapFile } from '../../sys/memory-map.js'
import type { CopySource, InstallResult } from '../../sys/userfaultfd.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { framePieces } from './frame-pieces.js'
import { type FrameAsker, Frames } from './frames.js'

const layerPages = 700
let directory: string
let layers: MemoryMapping[]
let memory: number
const pathOf = (layer: number) => join(directory, `layer-${layer}`)

/** Three layers; each page is full of a word of its own. */
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-frames-'))
  memory = openSync('/proc/self/mem', 'r')
  layers = [0, 1, 2].map((layer) => {
    const words = new Uint32Array((layerPages * pageSizeBytes) / 4)
    for (let page = 0; page < layerPages; page++)
      words.fill(wordOf(layer, page), page * 1024, (page + 1) * 1024)
    writeFileSync(pathOf(layer), words)
    const fd = openSync(pathOf(layer), 'r')
    try {
      return mapFile(fd, layerPages * pageSizeBytes)
    } finally {
      closeSync(fd)
    }
  })
})
afterAll(() => {
  for (const layer of layers) layer[Symbol.dispose]()
  closeSync(memory)
  rmSync(directory, { recursive: true })
})

const wordOf = (layer: number, page: number) => (layer + 1) * 10_000 + page
const nowhere = { isPresent: () => false }

/** The words of the 512 pages that `assemble` found; a page of several words is -1. */
function wordsAt({ source, offsetBytes }: { source: CopySource; offsetBytes: number }): number[] {
  const bytes = Buffer.alloc(hugePageBytes)
  expect(readSync(memory, bytes, 0, hugePageBytes, source.address + offsetBytes)).toBe(hugePageBytes)
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, hugePageBytes / 4)
  return Array.from({ length: framePages }, (_, page) => {
    const of = words.subarray(page * 1024, (page + 1) * 1024)
    return of.every((word) => word === of[0]) ? (of[0] as number) : -1
  })
}

const framesOf = (map: ExtentMap, removed = new RemovedPages(map.pages)) =>
  new Frames({ map, layers, removed, pagemap: nowhere })

/** Runs of random length and source that fill an image of whole frames. */
const layouts = fc
  .record({
    frames: fc.integer({ min: 1, max: 3 }),
    runs: fc.array(
      fc.record({
        count: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 650 })),
        source: fc.integer({ min: -1, max: 2 }),
        at: fc.nat(),
      }),
      { minLength: 1, maxLength: 200 },
    ),
    removed: fc.array(fc.record({ at: fc.nat(), count: fc.integer({ min: 1, max: 520 }) }), { maxLength: 4 }),
  })
  .map(({ frames, runs, removed }) => {
    const pages = frames * framePages
    const flat: number[] = []
    for (let page = 0, next = 0; page < pages; next++) {
      const { count, source, at } = runs[next % runs.length] as (typeof runs)[number]
      const most = Math.min(count, pages - page)
      flat.push(most, source, source === zeroSource ? 0 : at % (layerPages - most + 1))
      page += most
    }
    const map = extentMapFromJson({ pages, runs: flat }, [layerPages, layerPages, layerPages])
    const gone = new RemovedPages(pages)
    for (const { at, count } of removed) gone.add(at % pages, Math.min(count, pages - (at % pages)))
    return { map, gone, frames }
  })

describe('a frame', () => {
  test('has each page from where the map says, whatever the layout, and zeros where it was removed', () => {
    fc.assert(
      fc.property(layouts, ({ map, gone, frames }) => {
        const assembled = framesOf(map, gone)
        for (let first = 0; first < frames * framePages; first += framePages) {
          const pieces = assembled.pieces(first)
          expect(pieces.reduce((sum, { pages }) => sum + pages, 0)).toBe(framePages)
          const expected = Array.from({ length: framePages }, (_, index) => {
            const { source, storedPage } = lookupPage(map, first + index)
            return source === zeroSource || gone.has(first + index) ? 0 : wordOf(source, storedPage)
          })
          expect(wordsAt(assembled.assemble(pieces))).toEqual(expected)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('of one layer in a row is copied from its mapping, one of zeros from zeros', () => {
    const map = extentMapFromJson({ pages: 1024, runs: [512, 1, 100, 512, -1, 0] }, [700, 700])
    const frames = framesOf(map)
    expect(frames.pieces(0)).toEqual([{ source: 1, storedPage: 100, pages: 512 }])
    const { source, offsetBytes } = frames.assemble(frames.pieces(0))
    expect([source, offsetBytes]).toEqual([layers[1], 100 * pageSizeBytes])
    expect(frames.pieces(512)).toEqual([{ source: zeroSource, storedPage: 0, pages: 512 }])
    expect(new Set(wordsAt(frames.assemble(frames.pieces(512))))).toEqual(new Set([0]))
  })

  test('neighbouring zeros are one piece, removed or not', () => {
    const map = extentMapFromJson({ pages: 512, runs: [10, 0, 0, 20, -1, 0, 482, 0, 30] }, [700])
    const removed = new RemovedPages(512)
    removed.add(8, 2)
    removed.add(30, 5)
    expect(framePieces(map, removed, 0)).toEqual([
      { source: 0, storedPage: 0, pages: 8 },
      { source: zeroSource, storedPage: 0, pages: 27 },
      { source: 0, storedPage: 35, pages: 477 },
    ])
  })

  test('of a layer that was cut off is an error, and no signal', () => {
    const path = join(directory, 'short')
    writeFileSync(path, Buffer.alloc(layerPages * pageSizeBytes, 7))
    const fd = openSync(path, 'r')
    using mapping = mapFile(fd, layerPages * pageSizeBytes)
    closeSync(fd)
    truncateSync(path, 100 * pageSizeBytes)
    const map = extentMapFromJson({ pages: 512, runs: [50, -1, 0, 462, 0, 0] }, [layerPages])
    const removed = new RemovedPages(512)
    const frames = new Frames({ map, layers: [mapping], removed, pagemap: nowhere })
    expect(() => frames.assemble(frames.pieces(0))).toThrow(
      expect.objectContaining({ code: 'SYSCALL_FAILED', message: expect.stringContaining('EFAULT') }),
    )
    const outside = new Frames({
      map,
      layers: [{ ...mapping, lengthBytes: 4096 }],
      removed,
      pagemap: nowhere,
    })
    expect(() => outside.assemble(outside.pieces(0))).toThrow(
      expect.objectContaining({ code: 'IMAGE_MISMATCH' }),
    )
  })
})

describe('an installation', () => {
  const map = extentMapFromJson({ pages: 512, runs: [512, -1, 0] }, [])
  const setUp = (present: boolean, answer: () => InstallResult) => {
    const pagemap = {
      isPresent: () => present,
    }
    const frames = new Frames({ map, layers: [], removed: new RemovedPages(512), pagemap })
    const own: FrameAsker = {}
    return (asker = own) => frames.install({ copy: answer }, 2 ** 30, 0, asker)
  }

  test('says what the kernel says, as long as that can be', () => {
    for (const answer of ['installed', 'again', 'gone'] as const)
      expect(setUp(false, () => answer)()).toBe(answer)
    expect(setUp(true, () => 'exists')()).toBe('exists')
  })

  test('of a frame that is there and is not: the host has no huge page; after two seconds that is an error', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000)
    try {
      const install = setUp(false, () => 'exists')
      expect(install()).toBe('starved')
      clock.mockReturnValue(2999)
      expect(install()).toBe('starved')
      clock.mockReturnValue(3000)
      expect(() => install()).toThrow(
        expect.objectContaining({
          code: 'HOST_UNSUPPORTED',
          message: expect.stringContaining('vm.nr_hugepages'),
        }),
      )
    } finally {
      clock.mockRestore()
    }
  })

  test('each asker has two seconds of its own, and again after the error', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000)
    try {
      const install = setUp(false, () => 'exists')
      const other: FrameAsker = {}
      expect(install()).toBe('starved')
      clock.mockReturnValue(2500)
      expect(install(other)).toBe('starved')
      clock.mockReturnValue(3100)
      expect(install(other)).toBe('starved')
      expect(() => install()).toThrow('no huge page')
      expect(install()).toBe('starved')
      clock.mockReturnValue(4500)
      expect(() => install(other)).toThrow('no huge page')
      expect(install()).toBe('starved')
    } finally {
      clock.mockRestore()
    }
  })

  test('one in between begins the two seconds anew', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000)
    try {
      const answers: InstallResult[] = ['exists', 'installed', 'exists', 'exists']
      const install = setUp(false, () => answers.shift() as InstallResult)
      expect(install()).toBe('starved')
      expect(install()).toBe('installed')
      clock.mockReturnValue(5000)
      expect(install()).toBe('starved')
      clock.mockReturnValue(6999)
      expect(install()).toBe('starved')
    } finally {
      clock.mockRestore()
    }
  })

  test('that is refused for want of memory, as other kernels say it, is the same; other errors are errors', () => {
    const refused = (errno: string) =>
      setUp(false, () => {
        throw new VarveError('SYSCALL_FAILED', errno, { details: { errno } })
      })
    expect(refused('ENOMEM')()).toBe('starved')
    expect(() => refused('EINVAL')()).toThrow('EINVAL')
  })
})
