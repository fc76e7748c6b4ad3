// `npm run matrix`: every scenario with every Firecracker given; see `npm run matrix -- --help`.
import { build } from './setup.mjs'

build()
// In this process, which then waits for what a Ctrl-C has to end.
await import('../packages/lab/bin/run-matrix.js')
