// Makes the two pictures at the top of README from rows in docs/results; build first. A test makes them again
// and compares:
//   node packages/bench/src/readme-pictures/readme-pictures.mjs [DIRECTORY]
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pageMap } from './page-map.mjs'
import { restoreChart } from './restore-chart.mjs'

const root = fileURLToPath(new URL('../../../..', import.meta.url))
const out = process.argv[2] ?? join(root, 'docs/pictures')
const read = (name) => readFileSync(join(root, 'docs/results', name), 'utf8')

mkdirSync(out, { recursive: true })
writeFileSync(join(out, 'page-map.svg'), pageMap(read('quick/rows.jsonl'), 'json, base, input A'))
writeFileSync(join(out, 'restore.svg'), restoreChart(read('restore.jsonl')))
