// `npm run bench:NAME`, `npm run ground-truth`, or `node scripts/bench.mjs NAME [option…]`:
// builds, and runs a benchmark or the making of figures of packages/bench. Each says in its
// first lines what it does and takes.
import { build } from './setup.mjs'

build()
const { runBench } = await import('@varve/bench')
process.exitCode = await runBench(process.argv.slice(2))
