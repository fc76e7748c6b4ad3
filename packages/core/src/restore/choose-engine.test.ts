import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { recorderNames } from '../working-set/recording.js'
import { chooseEngine, type EngineFacts } from './choose-engine.js'

const gib = 2 ** 30
/** Large, nothing shared, nothing there, nothing cached, everything allowed, no set. */
const facts: EngineFacts = {
  hasFlatFile: false,
  dataBytes: gib,
  reflinks: false,
  freeBytes: 100 * gib,
  extents: 100,
  canMap: true,
  mapperWaits: true,
  hugePages: false,
  randomAccess: false,
  recorders: [],
  needed: { isWorkingSet: false, bytes: gib, inFlatFile: null, inLayers: 0 },
  memoryBytes: 8 * gib,
}
const flat = (inFlatFile: number | null, inLayers: number | null): Partial<EngineFacts> => ({
  hasFlatFile: true,
  needed: { ...facts.needed, inFlatFile, inLayers },
})
const set = (inFlatFile: number | null, inLayers: number | null): Partial<EngineFacts> => ({
  hasFlatFile: inFlatFile !== null,
  needed: { isWorkingSet: true, bytes: 2 ** 27, inFlatFile, inLayers },
})

test.each<[string, Partial<EngineFacts>, string, RegExp]>([
  ['huge pages, a flat file there', { ...flat(1, 1), hugePages: true }, 'paged', /only a page server/],
  ['a flat file that is there, cached', flat(1, 1), 'file', /is there, 100 % of it in the page cache/],
  ['a flat file that is there, nothing cached', flat(0, 0), 'file', /is there, 0 %/],
  ['a flat file, and no telling', flat(null, null), 'file', /is there$/],
  [
    'a flat file, the layers cached',
    flat(0.1, 0.9),
    'mapped',
    /90 % of the image .* 10 % in that of the flat/,
  ],
  ['that, no right to map', { ...flat(0.1, 0.9), canMap: false }, 'file', /10 % of it/],
  ['that, too many extents', { ...flat(0.1, 0.9), extents: 513 }, 'file', /10 % of it/],
  ['a flat file, the layers hardly more cached', flat(0.7, 0.9), 'file', /70 %/],
  ['a set to be read', set(0.25, 0.25), 'mapped', /96 MiB of the working set must be read/],
  [
    'that, in many extents',
    { ...set(0.25, 1), extents: 513 },
    'mapped',
    /96 MiB of the working set must be read/,
  ],
  ['that, no mapper there', { ...set(0.25, 0.25), mapperWaits: false }, 'file', /25 % of the working set/],
  ['that, no right to map', { ...set(0.25, 0.25), canMap: false }, 'file', /25 % of the working set/],
  ['a set that is cached', set(0.96, 0.96), 'file', /96 % of the working set in the page cache: nothing/],
  ['shared blocks', { reflinks: true }, 'file', /shares its blocks/],
  ['little data', { dataBytes: 2 ** 20 }, 'file', /1 MiB/],
  ['much data, and the right to map', {}, 'mapped', /1024 MiB, 0 % of it/],
  ['that, its set cached', set(null, 1), 'mapped', /100 % of the working set in the page cache: nothing/],
  ['much data, no right to map', { canMap: false }, 'paged', /may not trace/],
  [
    'that, and no memory for copies',
    { canMap: false, memoryBytes: 2 ** 20 },
    'file',
    /1024 MiB, and 1 MiB of/,
  ],
  ['much data in many extents', { extents: 513 }, 'file', /513 extents/],
  ['many extents, no right to map', { extents: 513, canMap: false }, 'file', /513 extents/],
  ['no room', { freeBytes: gib, canMap: false }, 'paged', /no room/],
  ['no room, no memory', { freeBytes: gib, canMap: false, memoryBytes: 1 }, 'paged', /no room/],
  ['no room, many extents', { freeBytes: gib, extents: 9999 }, 'paged', /no room/],
  ['little data, no room even for that', { dataBytes: 2 ** 20, freeBytes: 2 ** 20 }, 'mapped', /1 MiB/],
  ['a recorder of faults', { ...flat(1, 1), recorders: ['faults'] }, 'paged', /faults recorder/],
  ['a recorder of page tables', { recorders: ['pagemap'] }, 'paged', /a recorder reads page tables/],
  ['that, a flat file', { ...flat(0.1, 0.9), recorders: ['pagemap'] }, 'file', /10 % of it/],
  ['a recorder that sees layers', { recorders: ['mincore', 'diff'] }, 'mapped', /a copy of 1024 MiB/],
  ['a recorder of single pages', { ...flat(1, 1), randomAccess: true }, 'paged', /single pages/],
])('%s', (_what, differing, engine, reason) => {
  const choice = chooseEngine({ ...facts, ...differing })
  expect(choice.engine).toBe(engine)
  expect(choice.reason).toMatch(reason)
})

describe('whatever is found', () => {
  const share = fc.option(fc.double({ min: 0, max: 1, noNaN: true }))
  const bytes = fc.maxSafeNat()
  const any: fc.Arbitrary<EngineFacts> = fc.record({
    hasFlatFile: fc.boolean(),
    dataBytes: bytes,
    reflinks: fc.boolean(),
    freeBytes: bytes,
    extents: fc.nat(2000),
    canMap: fc.boolean(),
    mapperWaits: fc.boolean(),
    hugePages: fc.boolean(),
    randomAccess: fc.boolean(),
    recorders: fc.subarray([...recorderNames]),
    needed: fc.record({ isWorkingSet: fc.boolean(), bytes, inFlatFile: share, inLayers: share }),
    memoryBytes: bytes,
  })

  test('an engine is chosen that can work here, and the reason told in figures that are some', () => {
    fc.assert(
      fc.property(any, (found) => {
        const { engine, reason } = chooseEngine(found)
        if (engine === 'mapped') expect(found).toMatchObject({ canMap: true, randomAccess: false })
        if (found.hugePages) expect(engine).toBe('paged')
        if (found.recorders.includes('faults')) expect(engine).toBe('paged')
        if (found.recorders.includes('pagemap')) expect(engine).not.toBe('mapped')
        expect(reason).not.toMatch(/NaN|undefined|null|^$/)
      }),
    )
  })

  test('a set is left out only where nearly all of it is in memory already', () => {
    fc.assert(
      fc.property(any, (found) => {
        const { engine, worthPrefetching } = chooseEngine(found)
        const { isWorkingSet, inFlatFile, inLayers } = found.needed
        if (worthPrefetching) return
        expect(isWorkingSet && engine !== 'paged').toBe(true)
        const fromFlatFile = engine === 'file' || found.extents > 512
        expect(fromFlatFile ? inFlatFile : inLayers).toBeGreaterThanOrEqual(0.95)
      }),
    )
  })
})
