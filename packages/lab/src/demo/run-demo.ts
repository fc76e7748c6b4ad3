import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkHost, findFirecracker, openLocalStore, VarveError } from 'varve'
import { onProcessEnd } from 'varve/testing'
import { openNestedLab } from '../nested/open-lab.js'
import { median } from '../statistics/median.js'
import type { DemoResult } from './demo-result.js'
import { renderDemo } from './report.js'
import { tellStory } from './tell-story.js'
import { terminalHeatMap } from './terminal.js'

const help = `usage: npm run demo [-- --lab native|nested] [--rounds N] [--report FILE] [--json]

Boots a guest on a real Firecracker, takes a base and two Diffs, records what a restored guest touches, restores the
layers both ways, checks every byte, and writes one HTML report (default reports/demo.html).`

/** The main job, as `npm run demo` runs it. Gives the exit status. */
export async function runDemo(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      lab: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      report: { type: 'string', default: join('reports', 'demo.html') },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help === true) {
    process.stdout.write(`${help}\n`)
    return 0
  }
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000)
    throw new VarveError('USAGE', `--rounds ${values.rounds} is not a whole number from 1 to 1000`)
  const lab = values.lab ?? (await usualLab())
  if (lab !== 'native' && lab !== 'nested')
    throw new VarveError('USAGE', `--lab ${lab} is not native or nested`)
  const say = (message: string) => void process.stderr.write(`  ${message} …\n`)
  const result = lab === 'native' ? await nativeDemo(rounds, say) : await nestedDemo(rounds, say)
  const report = resolve(values.report)
  mkdirSync(dirname(report), { recursive: true })
  writeFileSync(report, renderDemo(result))
  process.stdout.write(
    values.json === true
      ? `${JSON.stringify({ ...result, report }, null, 2)}\n`
      : `${story(result)}\n\nReport: ${report}\n`,
  )
  return result.checks.some((check) => check.result.includes('DIFFER')) ? 5 : 0
}

/** Natively wherever /dev/kvm works at all: the micro guest runs on software KVM too. */
async function usualLab(): Promise<'native' | 'nested'> {
  const kvm = (await checkHost()).find(({ id }) => id === 'kvm')
  return kvm?.status === 'lack' ? 'nested' : 'native'
}

async function nativeDemo(rounds: number, onProgress: (message: string) => void): Promise<DemoResult> {
  const binary = await findFirecracker({ onProgress })
  // Not the temporary folder: on a tmpfs no page ever leaves the page cache, and the recorder needs that.
  const directory = mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-demo-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  // Ctrl-C ends the process without running any finally.
  const takeBack = onProcessEnd(remove)
  try {
    const context = {
      runtimeDirectory: join(directory, 'run'),
      binary,
      store: await openLocalStore(join(directory, 'store'), { create: true }),
      lab: 'native',
      path: (name: string) => join(directory, name),
    } as const
    return await tellStory(context, { rounds, onProgress })
  } finally {
    takeBack()
    remove()
  }
}

async function nestedDemo(rounds: number, onProgress: (message: string) => void): Promise<DemoResult> {
  onProgress('no KVM of our own: opening the nested lab')
  await using lab = await openNestedLab({ onProgress })
  const run = await lab.run({
    script: { code: nestedScript },
    args: [String(rounds)],
    timeoutMs: 600_000,
    onOutput: (text) => void process.stderr.write(text),
  })
  if (run.exitCode !== 0)
    throw new VarveError('LAB_FAILED', `the demo failed in the nested lab: ${run.stderr.slice(-2000)}`)
  return run.result as DemoResult
}

const nestedScript = `
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findFirecracker, openLocalStore } from 'varve'
import { tellStory } from '@varve/lab'
const directory = join(process.env.TMPDIR, 'demo')
mkdirSync(directory, { mode: 0o700 })
const context = { directory, runtimeDirectory: join(directory, 'run'), binary: await findFirecracker(), store: await openLocalStore(join(directory, 'store'), { create: true }), lab: 'nested', path: (name) => join(directory, name) }
const result = await tellStory(context, { rounds: Number(process.argv[2]), onProgress: (text) => console.error('  ' + text + ' …') })
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
`

function story(result: DemoResult): string {
  const { guest, layers, workingSet, heatMap, restores, checks, environment } = result
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  const ms = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`
  const { told, found } = workingSet
  return [
    '',
    `A guest of ${guest.memoryMib} MiB booted on Firecracker ${environment.Firecracker} in ${ms(guest.bootMs)} (${result.lab} lab; KVM: ${environment.KVM}).`,
    '',
    'Layers:',
    ...layers.map(
      (it) =>
        `  ${it.name.padEnd(5)} ${it.kind.padEnd(5)} ${mib(it.allocatedBytes).padStart(10)} on disk  ${String(it.dataPages).padStart(6)} data pages  ${String(it.zeroPages).padStart(6)} zero  ${String(it.absentPages).padStart(6)} inherited   guest paused ${ms(it.pauseMs)}`,
    ),
    '',
    'Restored, the guest was told to touch pages, and a recorder watched:',
    `  told    ${told.present} present, ${told.written} written, ${told.readOnly} read-only`,
    `  found   ${found.present} present, ${found.written} written, ${found.readOnly} read-only  (${workingSet.missing} missing; ${workingSet.extra.map(({ pages, why }) => `${pages} more: ${why}`).join('; ')})`,
    '',
    terminalHeatMap(heatMap, process.stdout.isTTY === true),
    '',
    `Restored both ways, ${restores[0]?.wholePassMs.length} interleaved rounds, medians:`,
    ...restores.map(
      (it) =>
        `  ${it.engine.padEnd(6)} first answer ${ms(median(it.firstAnswerMs)).padStart(8)}   whole pass ${ms(median(it.wholePassMs)).padStart(8)}`,
    ),
    ...(result.lab === 'nested'
      ? ['  (emulated: the counts of pages are exact, the times are not speeds)']
      : []),
    '',
    'Checked:',
    ...checks.map(({ what, result: found }) => `  ${what}: ${found}`),
  ].join('\n')
}
