// `node scripts/bench.mjs readme-pictures [DIRECTORY]`: makes the two pictures at the top of README from rows
// in docs/results. A test makes them again and compares.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inCheckout } from '../common/checkout.js'
import { pageMap } from './page-map.js'
import { restoreChart } from './restore-chart.js'

export function readmePictures([out = inCheckout('docs/pictures')]: readonly string[]): void {
  const read = (name: string) => readFileSync(inCheckout(join('docs/results', name)), 'utf8')
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'page-map.svg'), pageMap(read('quick/rows.jsonl'), 'json, base, input A'))
  writeFileSync(join(out, 'restore.svg'), restoreChart(read('restore.jsonl')))
}
