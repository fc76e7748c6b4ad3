import { expect, test } from 'vitest'
import type { CountedPage } from '../support/counted-pages.js'
import { faultsOfTraffic, type TrafficFound } from '../support/live-linux.js'

// What is found in live snapshots of Linux guests (test/linux/guests.test.ts) is judged by this.

const ring = (newest: number) =>
  Array.from({ length: 64 }, (_, block) => Math.max(0, newest - ((newest - block + 64) % 64)))
const counters = (received: number, begun: number, done: number): CountedPage[] =>
  [received, begun, done].map((number, which) => [0, which, number])
const right: TrafficFound = {
  stream: { acked: 90, sent: 106 },
  counters: counters(91, 200, 199),
  disk: ring(199),
}

test('a disk that has what was done, or also what was begun, is of the same instant', () => {
  expect(faultsOfTraffic(right)).toEqual([])
  expect(faultsOfTraffic({ ...right, disk: ring(200) })).toEqual([])
  expect(faultsOfTraffic({ ...right, counters: counters(91, 0, 0), disk: ring(0) })).toEqual([])
})

test.each<[fault: string, Partial<TrafficFound>]>([
  ['the disk is older: 198, where memory has 199 as written', { disk: ring(198) }],
  ['the disk is newer: 201, where memory has begun 200', { disk: ring(201) }],
  ['block 5 holds 133, not 197', { disk: ring(199).with(5, 133) }],
  ['block 5 has not one number throughout', { disk: ring(199).with(5, null as never) }],
  ['it has 89 pages of the stream, told 90 and was sent 106', { counters: counters(89, 200, 199) }],
  ['it has 107 pages of the stream, told 90 and was sent 106', { counters: counters(107, 200, 199) }],
])('%s', (fault, change) => {
  expect(faultsOfTraffic({ ...right, ...change })).toEqual([fault])
})
