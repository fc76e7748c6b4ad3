import { expect, test } from 'vitest'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { orderFromJson, orderToJson } from './mapper-protocol.js'

const order = {
  vmm: { pid: 4711, startTime: 99 },
  memoryFile: '18446744073709551615:42',
  map: {
    pages: 10,
    starts: Uint32Array.of(0, 4),
    counts: Uint32Array.of(4, 6),
    sources: Int16Array.of(0, -1),
    storedStarts: Uint32Array.of(3, 0),
  },
  layers: [{ path: '/layers/a', storedPages: 8 }],
  prefaultBudgetMs: 7.5,
  prefault: [{ readOnly: pageSetFromPages([1, 2, 7]), written: pageSetFromPages([0]) }],
}

test('an order comes over as it was', () => {
  expect(orderFromJson(orderToJson(order))).toEqual(order)
})

test('an order that would reach behind a layer is refused', () => {
  const short = { ...order, layers: [{ path: '/layers/a', storedPages: 6 }] }
  expect(() => orderFromJson(orderToJson(short))).toThrow('stored page 3')
})
