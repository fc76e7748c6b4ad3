// `npm run stress`: processes that boot, restore, capture, squash, tag, remove, collect, export, record, stop
// and kill each other at random, on one store and one runtime directory, with a model of what must be there.
//   --seconds N  --processes P  --seed S  --only A,B  --without A,B
//   --keep     the run's directory        --json   the result as JSON
// Exit status 1 if anything failed; the logs are kept then. docs/guides/testing.md tells more.
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { findFirecracker, openLocalStore } from 'varve'
import { killProcess } from 'varve/testing'
import { actions, isAction } from './actions.js'
import { Crew, type CrewOptions } from './crew.js'
import { Ledger } from './ledger.js'
import { Random } from './random.js'
import { type StressResult, showResult } from './report.js'
import { makeRun, type RunPaths, runEnvironment } from './run.js'
import { endEverything, settle } from './settle.js'

interface StressOptions extends CrewOptions {
  readonly seconds: number
  readonly keep: boolean
  readonly json: boolean
}

export async function stress(argv: readonly string[]): Promise<number> {
  const options = optionsOf(argv)
  if (typeof options === 'string') {
    console.error(`stress: ${options}`)
    return 2
  }
  const { seconds, processes, seed, only, keep, json } = options
  const binary = await findFirecracker({ onProgress: (text) => console.error(text) })
  const run = makeRun(mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-stress-')))
  // This process restores at the end: with the same settings as the workers, and not counted among what they
  // leave.
  Object.assign(process.env, runEnvironment(run))
  await openLocalStore(run.store, { create: true })
  const ledger = new Ledger(run.ledger)
  const start = performance.now()
  if (!json) console.log(`seed ${seed}: ${processes} processes for ${seconds} s in ${run.directory}`)
  const crew = new Crew(run, options, ledger)
  const interrupted = endOnSignals(crew, run)

  await sleep(seconds * 1000)
  // The handler ends the process.
  if (interrupted()) return 130
  await crew.finish()
  const settled = await settle(run, ledger, new Random(seed), binary)
  const failures = [...crew.failures, ...settled.failures]
  await killAll(run)
  const logs = failures.length === 0 ? null : `${run.directory}-logs`
  if (logs !== null) cpSync(run.logs, logs, { recursive: true })
  if (!keep) rmSync(run.directory, { recursive: true, force: true })
  const { actions: counts, pages, killed } = crew
  const ms = performance.now() - start
  const result: StressResult = {
    ...{ seconds, processes, seed, only },
    ...{ ms, counts, pages, killed },
    ...settled,
    ...{ failures, logs },
  }
  if (json) console.log(JSON.stringify(result))
  else showResult(result)
  return failures.length === 0 ? 0 : 1
}

const killAll = (run: RunPaths): Promise<void> =>
  endEverything(run, (identity) => void killProcess(identity, 'SIGKILL'))

/** Ctrl-C ends the workers, then all that they have left, without a result. */
function endOnSignals(crew: Crew, run: RunPaths): () => boolean {
  let interrupted = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, async () => {
      if (interrupted) return
      interrupted = true
      await crew.stop()
      await killAll(run)
      rmSync(run.directory, { recursive: true, force: true })
      process.exit(130)
    })
  return () => interrupted
}

/** Or what is wrong with them. */
function optionsOf(argv: readonly string[]): StressOptions | string {
  const { values } = parseArgs({
    args: [...argv],
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
  const { seed, keep, json } = values
  const [seconds, processes] = [Number(values.seconds), Number(values.processes)]
  for (const [name, value] of Object.entries({ seconds, processes }))
    if (!(Number.isInteger(value) && value >= 1 && value <= 100_000))
      return `--${name} must be a whole number from 1 to 100000`
  const listed = (text: string) => text.split(',').filter((name) => name !== '')
  const without = listed(values.without)
  const wanted = values.only === undefined ? Object.keys(actions) : listed(values.only)
  const unknown = [...without, ...wanted].find((name) => !isAction(name))
  if (unknown !== undefined) return `no action ${unknown}; there are ${Object.keys(actions).join(', ')}`
  const only = wanted.filter((name) => !without.includes(name))
  return { seconds, processes, seed, only, keep, json }
}
