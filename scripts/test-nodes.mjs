// `npm run test:nodes [-- [--quick] VERSION…]`: unit tests, and scenarios on real VMs, under the other Node
// versions (other-nodes.mjs); `npm test` does so with --quick. If a Node cannot be fetched, the run says so
// in capitals; it is a failure if $CI is set or the version was given.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { otherNode, otherNodes } from './other-nodes.mjs'
import { everything, root } from './setup.mjs'

/** The unit tests below these folders and the scenarios that run. An empty list means all. */
const extents = {
  whole: { unit: [], scenarios: [] },
  // System calls, files, workers and processes, where versions of Node may differ. The scenarios restore by
  // every engine, kill page servers, and record.
  quick: {
    unit: ['sys', 'store', 'page-server', 'mapper'].map((it) => `packages/core/src/${it}/`),
    scenarios: ['mapped-chain', 'page-server-recovery', 'working-set'],
  },
}

/** All unit tests take a minute and a half, all scenarios three, on two quiet cores. */
const runTimeoutMs = 1_200_000

const say = (text) => console.error(`varve: ${text}`)

const quick = process.argv.includes('--quick')
const wanted = process.argv.slice(2).filter((it) => it !== '--quick')
const isWanted = ({ version }) => wanted.some((it) => version === it || version.startsWith(`${it}.`))
const chosen = wanted.length === 0 ? otherNodes : otherNodes.filter(isWanted)
if (chosen.length === 0 || chosen.length < wanted.length) {
  const versions = otherNodes.map(({ version }) => version).join(', ')
  say(
    `usage: npm run test:nodes [-- [--quick] VERSION…], where VERSION is one of ${versions}, or its first number`,
  )
  process.exit(2)
}

let stopped = false
// A signal to this process group reaches the tests themselves; this process waits until they have cleaned up.
for (const name of ['SIGINT', 'SIGTERM'])
  process.on(name, () => {
    stopped = true
  })

const counts = { passed: 0, failed: 0, skipped: 0, failures: [] }
const found = chosen.flatMap((node) => {
  try {
    return [{ ...node, path: otherNode(node, { onProgress: say }) }]
  } catch (error) {
    const line = `NODE ${node.version} WAS NOT TESTED: ${error.message}`
    say(line)
    if (process.env.CI || wanted.length > 0) add(oneFailure(line))
    else counts.skipped++
    return []
  }
})
if (found.length > 0) await everything({ nested: false })
const directory = mkdtempSync(join(tmpdir(), 'varve-nodes-'))
for (const node of found) await testUnder(node, extents[quick ? 'quick' : 'whole'])
rmSync(directory, { recursive: true })
say(`other Node versions: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
if (process.env.VARVE_TEST_SUMMARY) writeFileSync(process.env.VARVE_TEST_SUMMARY, JSON.stringify(counts))
process.exitCode = stopped ? 130 : counts.failed > 0 ? 1 : 0

async function testUnder({ version, path }, { unit, scenarios }) {
  say(`unit tests under Node ${version}`)
  const summary = join(directory, version)
  const reporters = ['--reporter=dot', '--reporter=./scripts/summary-reporter.mjs']
  await run(path, ['node_modules/vitest/vitest.mjs', 'run', '--project=unit', ...reporters, ...unit], summary)
  const { failures, ...rest } = readJson(summary)
  add({ ...rest, failures: failures.map((it) => `Node ${version}: ${it}`) })
  say(`scenarios under Node ${version}`)
  const output = await run(path, ['test/scenarios/bin/run-scenarios.js', '--json', ...scenarios])
  add(outcomesIn(output))
}

/**
 * The Node under test is also what scripts find by the name `node`. Gives the standard output, unless it is
 * shown.
 */
function run(path, args, summary) {
  if (stopped) return ''
  const env = { ...process.env, PATH: `${dirname(path)}${delimiter}${process.env.PATH}` }
  const child = spawn(path, args, {
    cwd: root,
    stdio: ['ignore', summary === undefined ? 'pipe' : 'inherit', 'inherit'],
    env: summary === undefined ? env : { ...env, VARVE_TEST_SUMMARY: summary },
    timeout: runTimeoutMs,
  })
  let output = ''
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  return new Promise((resolve) => {
    child.once('error', (error) => {
      say(`cannot run ${path}: ${error.message}`)
      resolve('')
    })
    child.once('close', () => resolve(output))
  })
}

function oneFailure(line) {
  return { passed: 0, failed: 1, skipped: 0, failures: [line] }
}

/** A run that ended before its summary counts as failed. */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return oneFailure('the unit tests ended before their summary')
  }
}

function outcomesIn(output) {
  let outcomes
  try {
    outcomes = JSON.parse(output)
  } catch {
    const line = `the scenarios ended before they printed their results: ${output.slice(-2000)}`
    say(line)
    return oneFailure(line)
  }
  for (const { name, ok, ms, error } of outcomes)
    say(`${ok ? 'ok    ' : 'FAILED'} ${name}  ${Math.round(ms)} ms${ok ? '' : `\n${error}`}`)
  const failures = outcomes.filter(({ ok }) => !ok).map(({ name, error }) => `scenario ${name}: ${error}`)
  return { passed: outcomes.length - failures.length, failed: failures.length, skipped: 0, failures }
}

function add({ failures, ...more }) {
  counts.failures.push(...failures)
  for (const name of Object.keys(more)) counts[name] += more[name]
}
