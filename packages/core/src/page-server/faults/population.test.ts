import { expect, test } from 'vitest'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import type { CopySource, InstallResult } from '../../sys/userfaultfd.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { Population, type PopulationOps } from './population.js'

const page = 4096
// Image: 100 pages of layer 0, 50 zero, 10 of layer 1 from its page 7.
const map = extentMapFromJson({ pages: 160, runs: [100, 0, 0, 50, -1, 0, 10, 1, 7] }, [100, 20])
// The second half of the image comes first in memory.
const regions = [
  { address: 1000 * page, firstPage: 80, pages: 80 },
  { address: 2000 * page, firstPage: 0, pages: 80 },
]

/** The kernel's side: which pages are there, which cannot be had, and what was called. */
function setUp({ cold = () => false }: { cold?: (layer: number, at: number) => boolean } = {}) {
  const there = new Map<number, string>()
  const gone = new Set<number>()
  const calls: string[] = []
  const answers: InstallResult[] = []
  let copiedBytes = 0
  const ops: PopulationOps = {
    get copiedBytes() {
      return copiedBytes
    },
    copy: (address: number, source: CopySource, offset: number, length: number) => {
      copiedBytes = 0
      const answer = answers.shift()
      if (answer !== undefined) return answer
      const pages = Array.from({ length: length / page }, (_, index) => address / page + index)
      if (pages.some((it) => gone.has(it))) return 'gone'
      for (const [index, it] of pages.entries()) {
        if (there.has(it)) return index === 0 ? 'exists' : 'again'
        there.set(it, `${source.address}:${offset / page + index}`)
        copiedBytes += page
      }
      return 'installed'
    },
  }
  const layers = [0, 1].map((number) => ({
    address: number,
    lengthBytes: 100 * page,
    isResident: (at: number) => !cold(number, at),
    readAhead: (at: number) => calls.push(`read ahead ${number}[${at}]`),
  }))
  const removed = new RemovedPages(160)
  const population = new Population({ ops, regions, map, layers, removed })
  const all = () => {
    const results = []
    do results.push(population.step())
    while (results.at(-1) !== 'done')
    return results
  }
  return { there, gone, calls, answers, removed, population, all }
}

const memoryPageOf = (image: number) => (image < 80 ? 2000 + image : 920 + image)
const expected = (image: number) => (image < 100 ? `0:${image}` : `1:${image - 143}`)
const data = Array.from({ length: 160 }, (_, image) => image).filter((image) => image < 100 || image >= 150)

test('brings each page of a layer to its place, in pieces, and no zero page', () => {
  const { there, population, all } = setUp()
  const results = all()
  expect(there).toEqual(new Map(data.map((image) => [memoryPageOf(image), expected(image)])))
  expect(results).toEqual(['more', 'more', 'more', 'more', 'more', 'done'])
  expect(population.copiedPages).toBe(110)
})

test('leaves what is there as it is', () => {
  const { there, population, all } = setUp()
  const before = data.filter((image) => image % 3 === 0 || image > 90)
  for (const image of before) there.set(memoryPageOf(image), 'the guest’s')
  all()
  for (const image of data)
    expect(there.get(memoryPageOf(image))).toBe(before.includes(image) ? 'the guest’s' : expected(image))
  expect(population.copiedPages).toBe(data.length - before.length)
})

test('leaves out what was removed, before it or meanwhile', () => {
  const { there, removed, population, all } = setUp()
  removed.add(10, 5)
  population.step()
  removed.add(40, 41)
  removed.add(155, 5)
  all()
  const left = data.filter(
    (image) => !((image >= 10 && image < 15) || (image >= 40 && image < 81) || image >= 155),
  )
  // The first piece ended before the removed pages.
  expect([...there.keys()].sort((a, b) => a - b)).toEqual(left.map(memoryPageOf).sort((a, b) => a - b))
})

test('passes over memory that was replaced, page by page', () => {
  const { there, gone, all } = setUp()
  for (const image of [3, 4, 99]) gone.add(memoryPageOf(image))
  all()
  const left = data.filter((image) => ![3, 4, 99].includes(image))
  expect(there).toEqual(new Map(left.map((image) => [memoryPageOf(image), expected(image)])))
})

test('waits for an event to be read, and goes on where it stood', () => {
  const { there, answers, all } = setUp()
  answers.push('again')
  expect(all()[0]).toBe('wait')
  expect(there.size).toBe(110)
})

test('has a cold layer read ahead, once, before it copies', () => {
  const { calls, there, all } = setUp({ cold: (layer) => layer === 1 })
  const results = all()
  expect(results.filter((it) => it === 'wait')).toHaveLength(1)
  expect(calls).toEqual(['read ahead 1[7]'])
  expect(there.size).toBe(110)
})
