import { expect, test } from 'vitest'
import type { Descriptor } from '../content/descriptors.js'
import { annotations, mediaTypes } from '../content/descriptors.js'
import { zeroSource } from '../layer/extent-map.js'
import { ExtentMapBuilder } from '../layer/extent-map-builder.js'
import { isFlatBase } from './flat-file.js'

const pages = 100
/** Runs of an image: how many pages, from which layer, from which page of its file. */
type Run = readonly [count: number, source: number, storedPage: number]

function imageOf(runs: readonly Run[], baseData: number | null, layers = 2) {
  const builder = new ExtentMapBuilder(runs.length)
  for (const [count, source, storedPage] of runs) builder.add(count, source, storedPage)
  const notes = baseData === null ? {} : { annotations: { [annotations.dataPages]: String(baseData) } }
  const base: Descriptor = { mediaType: mediaTypes.layer, digest: 'sha256:', size: 0, ...notes }
  return {
    map: builder.finish(),
    files: Array.from({ length: layers }, () => ({ path: '/base', storedPages: pages })),
    layers: Array.from({ length: layers }, () => base),
  }
}

const untouched: readonly Run[] = [
  [40, zeroSource, 0],
  [60, 0, 40],
]

test.each<[string, ReturnType<typeof imageOf>, boolean]>([
  ['a base alone', imageOf(untouched, 60, 1), true],
  ['a base alone of which no descriptor tells', imageOf(untouched, null, 1), true],
  ['a child that changes nothing', imageOf(untouched, 60), true],
  ['a child that zeroes pages which the base has data for', imageOf(untouched, 61), false],
  ['a child, and no descriptor tells what the base has', imageOf(untouched, null), false],
  [
    'a child with data of its own',
    imageOf(
      [
        [99, 0, 0],
        [1, 1, 0],
      ],
      99,
    ),
    false,
  ],
  [
    'a packed base',
    imageOf(
      [
        [40, zeroSource, 0],
        [60, 0, 0],
      ],
      60,
      1,
    ),
    false,
  ],
])('whether the first file is the image: %s', (_what, image, expected) => {
  expect(isFlatBase(image)).toBe(expected)
})
