import { writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { inCheckout } from '../common/checkout.js'
import type { Verdict } from './flat.js'
import type { Sample } from './gauge.js'

export type PhaseName = 'restores' | 'served' | 'captures'

export interface PhaseResult {
  readonly phase: PhaseName
  readonly count: number
  readonly seconds: number
  readonly samples: number
  readonly gauges: readonly Verdict[]
}

const titles: Readonly<Record<PhaseName, string>> = {
  restores: 'restores and stops by one process (`file` and `mapped` in turn)',
  served: 'restores and stops by one page server',
  captures:
    'captures of one VM: the last 7 tags kept, gc after every 4, a squash after every 12, the VM restored anew after every 48',
}

/** What `npm run soak` does by default; a shorter run says so. */
export const wholeRun: Readonly<Record<PhaseName, number>> = { restores: 10_000, served: 2000, captures: 672 }

export function showSoak(results: readonly PhaseResult[], problems: readonly string[]): void {
  for (const { phase, count, seconds, gauges } of results) {
    console.log(`${phase}: ${count} in ${seconds} s`)
    for (const { name, first, half, last, rise, allowed, flat } of gauges)
      console.log(
        `  ${name.padEnd(20)} ${String(first).padStart(8)} ${String(half).padStart(8)} ${String(last).padStart(8)}  rise ${rise} of ${allowed} allowed${flat ? '' : '  NOT FLAT'}`,
      )
  }
  console.log(problems.length === 0 ? 'all flat' : problems.join('\n'))
}

function shorter(results: readonly PhaseResult[]): string {
  if (results.every(({ phase, count }) => count >= wholeRun[phase])) return ''
  const whole = Object.values(wholeRun).map((count) => count.toLocaleString('en'))
  return `This run was shorter than the default, which has ${whole.join(', ')}.\n\n`
}

/** docs/results/soak.md and soak.jsonl. */
export function writeSoak(
  rows: readonly Sample[],
  results: readonly PhaseResult[],
  problems: readonly string[],
): void {
  const at = (name: string) => inCheckout(`docs/results/${name}`)
  writeFileSync(at('soak.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const tables = results.map(
    ({ phase, count, seconds, samples, gauges }) => `## ${count} ${titles[phase]}

${seconds} s, ${samples} samples.

| gauge | first | half | last | rise over the second half | allowed |
|---|---|---|---|---|---|
${gauges.map(({ name, first, half, last, rise, allowed }) => `| ${name} | ${first} | ${half} | ${last} | ${rise} | ${allowed} |`).join('\n')}
`,
  )
  writeFileSync(
    at('soak.md'),
    `# Long life

\`npm run soak -- --write\` (Node ${process.versions.node}, Linux ${release()}, ${cpus().length} CPUs ${cpus()[0]?.model}): real VMs, micro guests of 16 MiB, every
tenth of which checks its memory. Rows: [soak.jsonl](soak.jsonl). \`self\` is the process that restores, \`server\` the page server; the other
gauges count entries of directories in the runtime directory and the store. "Rise" is the rise of a straight line through the samples of the second
half (least squares). No VM is alive at a sample, except one in the phase of captures. V8 collects garbage before each sample.

${shorter(results)}${problems.length === 0 ? 'Every gauge is flat.' : `Not flat: ${problems.join('; ')}.`}

${tables.join('\n')}`,
  )
}
