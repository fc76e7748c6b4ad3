// `npm run check`: format, lint, types, unit tests, and the pages: links, commands, code blocks.
import { bin, build, run } from './setup.mjs'

build()
run(bin('biome'), ['ci', '.'])
run(bin('vitest'), ['run', '--project', 'unit', '--project', 'docs', ...process.argv.slice(2)])
