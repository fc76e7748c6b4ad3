// Mutated state files against the built codec: `node scripts/fuzz-state-file.mjs [COUNT] [SEED]`, 1,000,000 by default.
import { fileURLToPath } from 'node:url'
import { fuzzStateFiles, seedStateFiles } from 'varve/testing'

const count = Number(process.argv[2] ?? 1_000_000)
const seed = Number(process.argv[3] ?? Math.floor(Math.random() * 2 ** 32))
if (!Number.isInteger(count) || count < 1 || !Number.isInteger(seed)) {
  console.error('usage: node scripts/fuzz-state-file.mjs [COUNT] [SEED]')
  process.exit(2)
}
console.error(`${count} inputs, seed ${seed}`)
const seeds = seedStateFiles(fileURLToPath(new URL('../test/golden/firecracker', import.meta.url)))
const start = performance.now()
const seconds = () => ((performance.now() - start) / 1000).toFixed(1)
const result = fuzzStateFiles({
  seeds,
  count,
  seed,
  onProgress: (done) => console.error(`${done} after ${seconds()} s`),
})
// maxRSS is in KiB.
const peakMib = Math.round(process.resourceUsage().maxRSS / 1024)
console.log(
  JSON.stringify({ count, seed, seconds: Number(seconds()), peakRssMib: peakMib, ...result }, null, 2),
)
