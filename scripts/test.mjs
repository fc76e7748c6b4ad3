// `npm test`: sets everything up, then runs every test in two lanes of about the same length, most of
// those in the nested lab alongside the others: an emulator keeps one processor busy and waits for
// nothing else. The other Node versions get a part of the tests (test-nodes.mjs). Arguments go to
// vitest, which then runs alone.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bin, everything, root, testTools } from './setup.mjs'

await everything({ nested: true })
await testTools()
const given = process.argv.slice(2)
const scenarios = 'test/nested-lab/scenarios.test.ts'
const vitest = (...args) => [
  bin('vitest'),
  ['run', '--reporter=default', '--reporter=./scripts/summary-reporter.mjs', ...args],
]
const lanes =
  given.length > 0
    ? [[vitest(...given)]]
    : [
        [vitest('--project=nested', `--exclude=${scenarios}`)],
        [
          vitest('--project=unit', '--project=docs', '--project=real'),
          [process.execPath, ['scripts/test-nodes.mjs', '--quick']],
          vitest('--project=nested', scenarios),
        ],
      ]

let stopped = false
// A signal to this process group reaches the tests themselves; this process waits for their cleaning up.
for (const name of ['SIGINT', 'SIGTERM'])
  process.on(name, () => {
    stopped = true
  })
const directory = mkdtempSync(join(tmpdir(), 'varve-test-'))
const ended = (await Promise.all(lanes.map(inTurn))).flat()
rmSync(directory, { recursive: true })

const sum = (name) => ended.reduce((all, { counts }) => all + counts[name], 0)
// The end of a long output is what is kept of it.
for (const line of ended.flatMap(({ counts }) => counts.failures)) console.log(`FAILED ${line.slice(0, 500)}`)
console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`)
process.exitCode = ended.find(({ status }) => status !== 0)?.status ?? 0

async function inTurn(runs, lane) {
  const done = []
  for (const [number, [file, args]] of runs.entries())
    if (!stopped) done.push(await run(file, args, join(directory, `${lane}-${number}`)))
  return done
}

function run(file, args, summary) {
  const child = spawn(file, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, VARVE_TEST_SUMMARY: summary },
  })
  return new Promise((resolve) => {
    child.once('error', (error) => {
      console.error(`varve: cannot run ${file}: ${error.message}`)
      resolve({ status: 1, counts: oneFailure(`${args[0]} did not start`) })
    })
    child.once('exit', (code) => resolve({ status: code ?? 1, counts: countsIn(summary, args.join(' ')) }))
  })
}

/** A run that ended before its summary failed. */
function countsIn(path, command) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return oneFailure(`${command} ended before its summary`)
  }
}

function oneFailure(line) {
  return { passed: 0, failed: 1, skipped: 0, failures: [line] }
}
