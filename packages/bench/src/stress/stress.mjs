// Processes that boot, restore, capture, squash, tag, remove, collect, export, record, stop and kill each
// other at random, on one store and one runtime directory, with a model of what must be there:
//   node packages/bench/src/stress/stress.mjs [--seconds N] [--processes P] [--seed S] [--only A,B]
//     [--without A,B] [--keep] [--json]
// Exit status 1 if anything failed; the logs are kept then. docs/guides/testing.md tells more.
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findFirecracker, openLocalStore } from 'varve'
import { killProcess } from 'varve/testing'
import { actions } from './actions.mjs'
import { Crew } from './crew.mjs'
import { Ledger } from './ledger.mjs'
import { Random } from './random.mjs'
import { showResult } from './report.mjs'
import { makeRun, runEnvironment } from './run.mjs'
import { endEverything, settle } from './settle.mjs'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    processes: { type: 'string', default: '4' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string' },
    without: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const whole = (name) => {
  const value = Number(values[name])
  if (Number.isInteger(value) && value >= 1 && value <= 100_000) return value
  console.error(`stress: --${name} ${values[name]} is not a whole number from 1 to 100000`)
  process.exit(2)
}
const listed = (text) => text.split(',').filter((name) => name !== '')
const without = listed(values.without)
const only = listed(values.only ?? Object.keys(actions).join(',')).filter((name) => !without.includes(name))
for (const name of [...without, ...only])
  if (!(name in actions)) {
    console.error(`stress: no action ${name}; there are ${Object.keys(actions).join(', ')}`)
    process.exit(2)
  }
const options = { seconds: whole('seconds'), processes: whole('processes'), seed: values.seed, only }

const binary = await findFirecracker({ onProgress: (text) => console.error(text) })
const run = makeRun(mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-stress-')))
// This process restores at the end: with the same settings as the workers, and not counted among what they
// leave.
Object.assign(process.env, runEnvironment(run))
await openLocalStore(run.store, { create: true })
const ledger = new Ledger(run.ledger)
const start = performance.now()
if (!values.json)
  console.log(
    `seed ${options.seed}: ${options.processes} processes for ${options.seconds} s in ${run.directory}`,
  )
const crew = new Crew(run, options, ledger)

let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, async () => {
    if (interrupted) return
    interrupted = true
    await crew.stop()
    await endEverything(run, (identity) => killProcess(identity, 'SIGKILL'))
    rmSync(run.directory, { recursive: true, force: true })
    process.exit(130)
  })

await new Promise((resolve) => setTimeout(resolve, options.seconds * 1000))
if (!interrupted) {
  await crew.finish()
  const settled = await settle(run, ledger, new Random(options.seed), binary)
  const failures = [...crew.failures, ...settled.failures]
  await endEverything(run, (identity) => killProcess(identity, 'SIGKILL'))
  let logs = null
  if (failures.length > 0) {
    logs = `${run.directory}-logs`
    cpSync(run.logs, logs, { recursive: true })
  }
  if (!values.keep) rmSync(run.directory, { recursive: true, force: true })
  const { actions: counts, pages, killed } = crew
  const result = {
    ...options,
    ms: performance.now() - start,
    counts,
    pages,
    killed,
    ...settled,
    failures,
    logs,
  }
  if (values.json) console.log(JSON.stringify(result))
  else showResult(result)
  process.exit(failures.length === 0 ? 0 : 1)
}
