import { expect, test } from 'vitest'
import { chooseEngine, type EngineFacts } from './choose-engine.js'

const gib = 2 ** 30
/** Large, nothing shared, nothing there, everything allowed. */
const facts: EngineFacts = {
  hasFlatFile: false,
  dataBytes: gib,
  reflinks: false,
  freeBytes: 100 * gib,
  extents: 100,
  canMap: true,
  randomAccess: false,
}

test.each<[string, Partial<EngineFacts>, string, RegExp]>([
  ['a flat file that is there', { hasFlatFile: true }, 'file', /is there/],
  ['shared blocks', { reflinks: true }, 'file', /shares its blocks/],
  ['little data', { dataBytes: 2 ** 20 }, 'file', /1 MiB/],
  ['much data, and the right to map', {}, 'mapped', /1024 MiB/],
  ['much data, no right to map', { canMap: false }, 'paged', /may not trace/],
  ['much data in many extents', { extents: 513 }, 'file', /513 extents/],
  ['many extents, no right to map', { extents: 513, canMap: false }, 'file', /513 extents/],
  ['no room', { freeBytes: gib, canMap: false }, 'paged', /no room/],
  ['no room, many extents', { freeBytes: gib, extents: 9999 }, 'paged', /no room/],
  ['little data, no room even for that', { dataBytes: 2 ** 20, freeBytes: 2 ** 20 }, 'mapped', /1 MiB/],
  ['a recorder of single pages', { hasFlatFile: true, randomAccess: true }, 'paged', /single pages/],
])('%s', (_what, differing, engine, reason) => {
  const choice = chooseEngine({ ...facts, ...differing })
  expect(choice.engine).toBe(engine)
  expect(choice.reason).toMatch(reason)
})
