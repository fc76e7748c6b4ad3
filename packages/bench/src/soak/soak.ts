// `npm run soak`: a long life, squeezed: restores and stops by one process, restores by one page server, and
// a week of captures, while memory, descriptors, threads and directory entries are watched.
//   --restores N  --served N  --captures N  --samples N
//   --write    rows and tables into docs/results        --json   the result as JSON
// Exit status 1 if the second half of any of them is not flat. Node needs --expose-gc.
import { parseArgs } from 'node:util'
import { findFirecracker, openLocalStore } from 'varve'
import { tenths } from '../common/numbers.js'
import { openScratch } from '../common/scratch.js'
import { judge } from './flat.js'
import { gauge, type Sample } from './gauge.js'
import { captures, makeSnapshot, type Phase, restores, type SoakWorld, served } from './phases.js'
import { type PhaseName, type PhaseResult, showSoak, wholeRun, writeSoak } from './report.js'

const phases: readonly (readonly [PhaseName, Phase])[] = [
  ['restores', restores],
  ['served', served],
  ['captures', captures],
]

export async function soak(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      restores: { type: 'string', default: String(wholeRun.restores) },
      served: { type: 'string', default: String(wholeRun.served) },
      captures: { type: 'string', default: String(wholeRun.captures) },
      samples: { type: 'string', default: '40' },
      write: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  })
  // Otherwise what it measures is when V8 last collected.
  if (globalThis.gc === undefined) throw new Error('soak needs node --expose-gc')
  // Removed at the end: without its directory a page server ends at once.
  using scratch = openScratch()
  const binary = await findFirecracker({ onProgress: (text) => console.error(text) })
  const location = scratch.path('store')
  const store = await openLocalStore(location, { create: true })
  const world: SoakWorld = { binary, store, runtime: scratch.path('run') }
  await makeSnapshot(world)

  const rows: (Sample & { readonly phase: PhaseName })[] = []
  const results: PhaseResult[] = []
  for (const [phase, live] of phases) {
    const count = Number(options[phase])
    if (!(count > 0)) continue
    // Captures are sampled after a gc, at the same place of their rhythm of 48.
    const step = phase === 'captures' ? 48 : 2
    const every = Math.max(step, Math.round(count / Number(options.samples) / step) * step)
    const start = performance.now()
    const samples: Sample[] = []
    await live(world, count, (done, processes) => {
      if (done % every !== 0) return
      samples.push({ done, ...gauge({ runtime: world.runtime, store: location }, processes) })
      if (!options.json)
        console.error(`${phase}: ${done} of ${count}, ${((performance.now() - start) / 1000).toFixed(0)} s`)
    })
    const seconds = tenths((performance.now() - start) / 1000)
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
  if (options.write) writeSoak(rows, results, problems)
  if (options.json) console.log(JSON.stringify({ results, problems }))
  else showSoak(results, problems)
  return problems.length === 0 ? 0 : 1
}
