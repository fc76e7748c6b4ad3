// Mutated state files against the codec: `node scripts/bench.mjs fuzz-state-files [COUNT]
// [SEED]`, 1,000,000 by default.
import { seedStateFiles } from 'varve/testing'
import { inCheckout } from '../common/checkout.js'
import { say } from '../common/results.js'
import { fuzzStateFiles } from './fuzz-state-files.js'

export function fuzzProgram([given = '1000000', givenSeed]: readonly string[]): number {
  const count = Number(given)
  const seed = Number(givenSeed ?? Math.floor(Math.random() * 2 ** 32))
  if (!Number.isInteger(count) || count < 1 || !Number.isInteger(seed)) {
    process.stderr.write('usage: node scripts/bench.mjs fuzz-state-files [COUNT] [SEED]\n')
    return 2
  }
  say(`${count} inputs, seed ${seed}`)
  const start = performance.now()
  const seconds = () => ((performance.now() - start) / 1000).toFixed(1)
  const result = fuzzStateFiles({
    seeds: seedStateFiles(inCheckout('test/golden/firecracker')),
    count,
    seed,
    onProgress: (done) => say(`${done} after ${seconds()} s`),
  })
  // maxRSS is in KiB.
  const peakRssMib = Math.round(process.resourceUsage().maxRSS / 1024)
  const figures = { count, seed, seconds: Number(seconds()), peakRssMib, ...result }
  process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`)
  return 0
}
