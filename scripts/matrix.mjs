// `npm run matrix`: every scenario with every Firecracker given; see `npm run matrix -- --help`.
import { build } from './setup.mjs'

build()
// Runs in this process, which waits after a Ctrl-C until the cell has ended.
await import('../test/scenarios/bin/run-matrix.js')
