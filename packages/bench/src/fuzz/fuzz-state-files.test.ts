import { seedStateFiles } from 'varve/testing'
import { expect, test } from 'vitest'
import { inCheckout } from '../common/checkout.js'
import { fuzzStateFiles } from './fuzz-state-files.js'

test('20,000 mutated files: an error of the reader or a value that can be written back', () => {
  // The seed is part of the message of whatever goes wrong; `node scripts/bench.mjs
  // fuzz-state-files COUNT SEED` does it again.
  const seed = Date.now() % 2 ** 32
  const seeds = seedStateFiles(inCheckout('test/golden/firecracker'))
  const { accepted, refused } = fuzzStateFiles({ seeds, count: 20_000, seed })
  // Most inputs must reach the parser, and both outcomes must occur, or the mutations have lost their bite.
  expect(accepted, `seed ${seed}`).toBeGreaterThan(1000)
  expect(refused.FORMAT_INVALID, `seed ${seed}`).toBeGreaterThan(5000)
})
