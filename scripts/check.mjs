// `npm run check`: format, lint, types, unit tests.
import { bin, build, run } from './setup.mjs'

build()
run(bin('biome'), ['ci', '.'])
run(bin('vitest'), ['run', '--project', 'unit', ...process.argv.slice(2)])
