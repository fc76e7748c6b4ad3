// A long life, squeezed: restores and stops by one process, restores by one page server, and a week of
// captures, while memory, descriptors, threads and directory entries are watched:
//   node --expose-gc packages/bench/src/soak/soak.mjs [--restores N] [--served N] [--captures N]
//     [--samples N] [--write] [--json]
// Exit status 1 if the second half of any of them is not flat. --write puts rows and table into docs/results.
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findFirecracker, openLocalStore } from 'varve'
import { judge } from './flat.mjs'
import { gauge } from './gauge.mjs'
import { captures, makeSnapshot, restores, served } from './phases.mjs'
import { showSoak, wholeRun, writeSoak } from './report.mjs'

const { values } = parseArgs({
  options: {
    restores: { type: 'string', default: String(wholeRun.restores) },
    served: { type: 'string', default: String(wholeRun.served) },
    captures: { type: 'string', default: String(wholeRun.captures) },
    samples: { type: 'string', default: '40' },
    write: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

const directory = mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-soak-'))
process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))
const binary = await findFirecracker({ onProgress: (text) => console.error(text) })
const location = join(directory, 'store')
const store = await openLocalStore(location, { create: true })
const world = { binary, store, runtime: join(directory, 'run') }
await makeSnapshot(world)

const rows = []
const results = []
for (const [phase, live] of Object.entries({ restores, served, captures })) {
  const count = Number(values[phase])
  if (!(count > 0)) continue
  // Captures are sampled after a gc, at the same place of their rhythm of 48.
  const step = phase === 'captures' ? 48 : 2
  const every = Math.max(step, Math.round(count / Number(values.samples) / step) * step)
  const start = performance.now()
  const samples = []
  await live(world, count, async (done, processes) => {
    if (done % every !== 0) return
    samples.push({ done, ...gauge({ runtime: world.runtime, store: location }, processes) })
    if (!values.json)
      console.error(`${phase}: ${done} of ${count}, ${((performance.now() - start) / 1000).toFixed(0)} s`)
  })
  const seconds = Math.round((performance.now() - start) / 100) / 10
  rows.push(...samples.map((it) => ({ phase, ...it })))
  results.push({ phase, count, seconds, samples: samples.length, gauges: judge(samples) })
}
const { findings } = await store.fsck()
const rising = results.flatMap(({ phase, gauges }) =>
  gauges
    .filter(({ flat }) => !flat)
    .map(({ name, half, last, rise }) => `${phase}: ${name} rises by ${rise} (${half} to ${last})`),
)
const problems = [...rising, ...findings.map((finding) => `fsck: ${JSON.stringify(finding)}`)]
if (values.write) writeSoak(rows, results, problems)
if (values.json) console.log(JSON.stringify({ results, problems }))
else showSoak(results, problems)
// Otherwise the page server lives for another ten seconds; without its directory it ends at once.
process.exit(problems.length === 0 ? 0 : 1)
