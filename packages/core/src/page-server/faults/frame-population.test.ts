import { expect, test } from 'vitest'
import { extentMapFromJson } from '../../layer/extent-map-json.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { InstallResult } from '../../sys/userfaultfd.js'
import { RemovedPages } from '../protocol/removed-pages.js'
import { FramePopulation } from './frame-population.js'
import { Frames } from './frames.js'

const frame = 2 ** 21
// Frames: of layer 0, of zeros, of layer 1.
const map = extentMapFromJson({ pages: 1536, runs: [512, 0, 0, 512, -1, 0, 512, 1, 7] }, [512, 600])
const regions = [
  { address: 100 * frame, firstPage: 512, pages: 1024 },
  { address: 200 * frame, firstPage: 0, pages: 512 },
]

function setUp({ cold = false, there = [] as number[] } = {}) {
  const calls: string[] = []
  const answers: InstallResult[] = []
  const ops = {
    copy: (address: number, source: { readonly address: number }, offset: number, length: number) => {
      expect(length).toBe(frame)
      calls.push(`copy ${address / frame} ${source.address}[${offset / pageSizeBytes}]`)
      return answers.shift() ?? 'installed'
    },
  }
  const layers = [0, 1].map((number) => ({
    address: number,
    lengthBytes: 600 * pageSizeBytes,
    isResident: () => !cold,
    readAhead: (page: number, pages: number) => calls.push(`read ahead ${number}[${page}] ${pages}`),
  }))
  const removed = new RemovedPages(1536)
  const pagemap = {
    isPresent: (address: number) => there.includes(address / frame),
  }
  const frames = new Frames({ map, layers, removed, pagemap })
  const population = new FramePopulation({ ops, frames, regions, layers })
  const all = () => {
    const results: string[] = []
    do results.push(population.step())
    while (results.at(-1) !== 'done')
    return results
  }
  return { calls, answers, removed, population, all }
}

test('brings each frame that has data, and no frame of zeros', () => {
  const { calls, population, all } = setUp()
  expect(all()).toEqual(['more', 'more', 'more', 'done'])
  expect(calls).toEqual(['copy 101 1[7]', 'copy 200 0[0]'])
  expect(population.copiedPages).toBe(1024)
})

test('leaves what is there, and what was removed', () => {
  const { calls, removed, population, all } = setUp({ there: [101] })
  removed.add(0, 512)
  all()
  expect([calls, population.copiedPages]).toEqual([[], 0])
})

test('has a layer that is not in memory read first, once, and waits behind an event', () => {
  const { calls, answers, population, all } = setUp({ cold: true })
  answers.push('again', 'installed', 'gone')
  expect(all()).toEqual(['more', 'wait', 'wait', 'more', 'wait', 'more', 'done'])
  expect(calls).toEqual([
    'read ahead 1[7] 512',
    'copy 101 1[7]',
    'copy 101 1[7]',
    'read ahead 0[0] 512',
    'copy 200 0[0]',
  ])
  expect(population.copiedPages).toBe(512)
})
