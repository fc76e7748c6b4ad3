import { mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { readStateFile } from '../../../firecracker/state-file/read-state-file.js'
import { type ExtentMap, lookupPage, zeroSource } from '../../../layer/extent-map.js'
import { ExtentMapBuilder } from '../../../layer/extent-map-builder.js'
import { flatten } from '../../../layer/flatten.js'
import type { LayerFile } from '../../../layer/layer-types.js'
import { pageSizeBytes } from '../../../memory/units.js'
import { patchOf } from './patched-engine.js'
import { type PatchLimits, planPatch, type Region } from './plan-patch.js'

const layers = 3

/** Every layer's pages in a row, so that none is used twice; runs of zeros between them. */
const anyMap = fc
  .array(
    fc.record({
      count: fc.integer({ min: 1, max: 60 }),
      source: fc.integer({ min: zeroSource, max: layers - 1 }),
    }),
    { minLength: 1, maxLength: 40 },
  )
  .map((runs): ExtentMap => {
    const next = Array.from({ length: layers }, () => 0)
    const builder = new ExtentMapBuilder(runs.length)
    for (const { count, source } of runs) {
      builder.add(count, source, source === zeroSource ? 0 : (next[source] as number))
      // Now and then with a page between that a later layer has replaced.
      if (source !== zeroSource) next[source] = (next[source] as number) + count + (count % 3 === 0 ? 1 : 0)
    }
    return builder.finish()
  })

/** Up to three regions, some of them neighbours, as Firecracker lists them. */
const regionsOf = (pages: number) =>
  fc
    .tuple(
      fc.uniqueArray(fc.integer({ min: 1, max: Math.max(1, pages - 1) }), { maxLength: 2 }),
      fc.array(fc.nat({ max: 20 }), { minLength: 3, maxLength: 3 }),
    )
    .map(([cuts, gaps]): Region[] => {
      const edges = [0, ...cuts.filter((cut) => cut < pages).sort((a, b) => a - b), pages]
      let address = 0
      return edges.slice(1).map((end, index) => {
        address += (gaps[index] as number) * pageSizeBytes
        const first = edges[index] as number
        const region = {
          guestAddress: address,
          sizeBytes: (end - first) * pageSizeBytes,
          fileOffset: first * pageSizeBytes,
        }
        address += region.sizeBytes
        return region
      })
    })

/** Guest page number → page of the memory file. */
const places = (regions: readonly Region[]) =>
  new Map(
    regions.flatMap(({ guestAddress, sizeBytes, fileOffset }) =>
      Array.from({ length: sizeBytes / pageSizeBytes }, (_, index) => [
        guestAddress / pageSizeBytes + index,
        fileOffset / pageSizeBytes + index,
      ]),
    ),
  )

/** Guest memory without its cuts. */
function stretches(regions: readonly Region[]): [start: number, end: number][] {
  const found: [number, number][] = []
  for (const { guestAddress, sizeBytes } of regions) {
    const last = found.at(-1)
    if (last?.[1] === guestAddress) last[1] += sizeBytes
    else found.push([guestAddress, guestAddress + sizeBytes])
  }
  return found
}

function guestAddressAt(regions: readonly Region[], offset: number): number {
  const region = regions.find((it) => offset >= it.fileOffset && offset < it.fileOffset + it.sizeBytes)
  return (region?.guestAddress ?? Number.NaN) + offset - (region?.fileOffset ?? 0)
}

function fileOffsetAt(regions: readonly Region[], address: number): number {
  const region = regions.find((it) => address >= it.guestAddress && address < it.guestAddress + it.sizeBytes)
  return (region?.fileOffset ?? Number.NaN) + address - (region?.guestAddress ?? 0)
}

const place = (map: ExtentMap, page: number) => {
  const { source, storedPage } = lookupPage(map, page)
  return [source, storedPage]
}

describe('a plan', () => {
  const anyCase = anyMap.chain((map) => fc.tuple(fc.constant(map), regionsOf(map.pages)))

  test('each guest page comes from where the image has it, in a list that Firecracker takes', () => {
    fc.assert(
      fc.property(
        anyCase,
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 3, max: 30 }),
        ([map, regions], align, most) => {
          const limits: PatchLimits = { alignPages: align, mostRegions: most }
          const plan = planPatch(regions, map, limits)
          expect(plan.regions.length).toBeLessThanOrEqual(most)
          const [before, after] = [places(regions), places(plan.regions)]
          // The same guest pages, each once, ascending.
          expect([...after.keys()]).toEqual([...before.keys()])
          for (const [guestPage, page] of before) {
            const inFile = after.get(guestPage) as number
            expect(place(plan.composed, inFile)).toEqual(place(map, page))
            expect(place(plan.image, page)).toEqual(
              lookupPage(map, page).source === zeroSource ? [zeroSource, 0] : [0, inFile],
            )
          }
          // Cuts within what was one piece of memory lie at multiples, and at no others.
          const ends = new Set(regions.map((it) => it.guestAddress + it.sizeBytes))
          for (const { guestAddress } of plan.regions.slice(1))
            if (ends.has(guestAddress) === false)
              expect(
                regions.some((it) => it.guestAddress === guestAddress) ||
                  (guestAddress / pageSizeBytes) % align === 0,
              ).toBe(true)
        },
      ),
    )
  })

  test('a patched state’s own regions give the plan of the whole again', () => {
    fc.assert(
      fc.property(anyCase, fc.integer({ min: 1, max: 64 }), ([map, regions], align) => {
        const limits = { alignPages: align, mostRegions: 1000 }
        const plan = planPatch(regions, map, limits)
        let offset = 0
        // Firecracker writes the next memory file without gaps, region by region.
        const next = plan.regions.map(({ guestAddress, sizeBytes }) => {
          offset += sizeBytes
          return { guestAddress, sizeBytes, fileOffset: offset - sizeBytes }
        })
        expect(planPatch(next, map, limits)).toEqual(plan)
      }),
    )
  })

  test('memory that is not the image’s is refused', () => {
    const map = new ExtentMapBuilder(1)
    map.add(10, 0, 0)
    const image = map.finish()
    const region = { guestAddress: 0, sizeBytes: 9 * pageSizeBytes, fileOffset: 0 }
    expect(() => planPatch([region], image)).toThrow(/9 pages of memory, the image of 10/)
    const shifted = { guestAddress: 0, sizeBytes: 9 * pageSizeBytes, fileOffset: pageSizeBytes }
    expect(() => planPatch([shifted], image)).toThrow(/not behind the one before it/)
  })
})

describe('real state files', () => {
  const golden = (name: string) =>
    fileURLToPath(new URL(`../../../../../../test/golden/firecracker/${name}/state`, import.meta.url))
  const directory = mkdtempSync(join(tmpdir(), 'varve-patched-'))
  afterAll(() => rmSync(directory, { recursive: true }))

  /** A layer whose pages tell their layer and number. */
  const layer = (number: number, storedPages: number): LayerFile => {
    const path = join(directory, `layer-${number}`)
    const bytes = Buffer.alloc(storedPages * pageSizeBytes)
    for (let page = 0; page < storedPages; page++)
      bytes.writeUInt32LE(word(number, page), page * pageSizeBytes)
    writeFileSync(path, bytes)
    return { path, storedPages }
  }
  const word = (source: number, page: number) =>
    source === zeroSource ? 0 : (source + 1) * 0x100_0000 + page

  test.each([
    ['1.10.1/small', 128],
    ['1.10.1/two-regions', 4096],
  ])('%s: rewritten, each page of each region is the image’s', async (name, memoryMib) => {
    const files = [layer(0, 4000), layer(1, 700), layer(2, 40)]
    const builder = new ExtentMapBuilder(16)
    const pages = memoryMib * 256
    // Long stretches of one layer, others that change within 4 MiB, zeros between, and data at the end.
    for (const [count, source, page] of [
      [1500, zeroSource, 0],
      [3000, 0, 0],
      [500, 1, 0],
      [20, 2, 0],
      [100, 0, 3100],
      [pages - 1500 - 3620 - 240, zeroSource, 0],
      [20, 2, 20],
      [20, zeroSource, 0],
      [200, 1, 500],
    ] as const)
      builder.add(count, source, page)
    const map = builder.finish()
    expect(map.pages).toBe(pages)
    const before = readStateFile(readFileSync(golden(name)))
    const { state, plan } = patchOf({ statePath: golden(name), map })
    const after = readStateFile(state)
    expect(after.regions).toMatchObject(plan.regions)
    expect(after.regions.length).toBeGreaterThan(before.regions.length)
    expect(after.regions.length).toBeLessThanOrEqual(256)
    expect({ ...after, regions: 0, regionList: 0, memoryFileBytes: 0, sizeBytes: 0, crc64: 0 }).toEqual({
      ...before,
      ...{ regions: 0, regionList: 0, memoryFileBytes: 0, sizeBytes: 0, crc64: 0 },
    })
    const path = join(directory, `composed-${memoryMib}`)
    await flatten({ map: plan.composed, files }, path)
    const fd = openSync(path, 'r')
    const found = Buffer.alloc(4)
    expect(stretches(after.regions)).toEqual(stretches(before.regions))
    let wrong = 0
    for (let page = 0; page < pages; page++) {
      const { source, storedPage } = lookupPage(map, page)
      // All that holds data, and of a million zero pages some.
      if (source === zeroSource && page % 64 !== 0) continue
      const inFile = fileOffsetAt(after.regions, guestAddressAt(before.regions, page * pageSizeBytes))
      readSync(fd, found, 0, 4, inFile)
      if (found.readUInt32LE() !== word(source, storedPage)) wrong++
    }
    expect(wrong).toBe(0)
  })

  test.each(['1.12.1/small', '1.14.4/small', '1.16.1/small'])('%s has no offsets and is refused', (name) => {
    const { regions } = readStateFile(readFileSync(golden(name)))
    const map = new ExtentMapBuilder(1)
    map.add(regions.reduce((sum, it) => sum + it.sizeBytes, 0) / pageSizeBytes, zeroSource, 0)
    expect(() => patchOf({ statePath: golden(name), map: map.finish() })).toThrow(
      expect.objectContaining({
        code: 'VERSION_UNSUPPORTED',
        message: expect.stringContaining('no offsets'),
      }),
    )
  })
})
