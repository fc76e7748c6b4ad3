// `npm test`: sets everything up, then runs every test. Arguments go to vitest.
import { bin, everything, run } from './setup.mjs'

await everything({ nested: true })
run(bin('vitest'), [
  'run',
  '--reporter=default',
  '--reporter=./scripts/summary-reporter.mjs',
  ...process.argv.slice(2),
])
