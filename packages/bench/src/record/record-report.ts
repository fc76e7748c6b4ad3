import { arch, cpus, loadavg, release } from 'node:os'
import { median } from '@varve/lab/testing'
import { hardwareVirtualisation } from 'varve/testing'
import { groupBy } from '../common/numbers.js'
import { contenders, memoryMib, notRecorded, type PassRow, reads, type VmRow, writes } from './record-rows.js'

export interface RecordFigures {
  readonly vms: readonly VmRow[]
  readonly passes: readonly PassRow[]
  readonly rounds: number
}

/** What goes into docs/results/record.md: the machine, both tables, and the worst ratio of the second. */
export function recordParts({ vms, passes, rounds }: RecordFigures) {
  const load = loadavg()[2]?.toFixed(1)
  const lines = [...groupBy(passes, ({ pages }) => pages).values()].map(passLine)
  const worst = Math.max(...lines.map(({ ratio }) => ratio))
  return {
    machine: `${rounds} rounds after one that warms up. Machine: ${cpus().length} CPUs, ${cpus()[0]?.model}, ${arch()}, Linux ${release()}, Node ${process.versions.node}, ${hardwareVirtualisation() ? 'hardware' : 'software'} KVM;
load average ${load}, this bench included.`,
    vms: vmTable(vms),
    passes: `${lines[0]?.n ?? 0} passes each. ${Number.isFinite(worst) ? `**At most ${worst.toFixed(2)}× of C.**` : 'Not measured against C: no compiler.'}

| pages in the page cache | pages, runs found | JavaScript | C | ratio |
|---|---|---:|---:|---:|
${lines.map(({ text }) => text).join('\n')}`,
  }
}

function vmTable(rows: readonly VmRow[]): string {
  const lines = contenders.map(({ engine, cache, name }) => {
    const of = (wanted: string) =>
      rows.filter((row) => row.engine === engine && row.cache === cache && row.name === wanted)
    const mine = of(name)
    const times = (field: 'workMs' | 'startMs' | 'stopMs') => mine.map((row) => row[field])
    const slowdown = median(times('workMs')) / median(of(notRecorded).map(({ workMs }) => workMs))
    const recorded = name !== notRecorded
    const pages = (field: 'present' | 'written') => {
      const values = mine.flatMap((row) => row[field] ?? [])
      return values.length === 0 ? '' : median(values)
    }
    const cells = [
      engine,
      cache,
      name,
      spread(times('workMs')),
      recorded ? `**${slowdown.toFixed(2)}×**` : '1',
      recorded ? spread(times('startMs')) : '',
      recorded ? spread(times('stopMs')) : '',
      recorded ? median(mine.map(({ scans }) => scans)) : '',
      pages('present'),
      pages('written'),
    ]
    return `| ${cells.join(' | ')} |`
  })
  return [
    '| engine | page cache | recorder | work | slowdown | start | stop | scans | present | written |',
    '|---|---|---|---:|---:|---:|---:|---:|---:|---:|',
    ...lines,
  ].join('\n')
}

function passLine(rows: readonly PassRow[]) {
  const js = rows.flatMap(({ jsMs }) => jsMs)
  const c = rows.flatMap(({ cMs }) => cMs)
  const ratio = median(js) / median(c)
  const cells = [
    rows[0]?.pages,
    rows[0]?.found.replace(' ', ', '),
    spread(js),
    c.length === 0 ? '–' : spread(c),
    Number.isFinite(ratio) ? `**${ratio.toFixed(2)}×**` : '–',
  ]
  return { n: js.length, ratio, text: `| ${cells.join(' | ')} |` }
}

/** Median, and the least and the most. */
function spread(values: readonly number[]): string {
  const text = (ms: number) => (ms < 100 ? ms.toPrecision(2) : ms.toFixed(0))
  return `${text(median(values))} [${text(Math.min(...values))}–${text(Math.max(...values))}]`
}

/** The page where there is none yet. */
export const recordPage = (parts: Readonly<Record<string, string>>): string => `# What recording costs

\`npm run bench:record\` (a VM that is recorded against one that is not, the same work, in one run; every contender once a
round, each round beginning with another one). Raw rows: [record.jsonl](record.jsonl).

${parts.machine}

## A recorded VM

Restored from a ${memoryMib} MiB snapshot; the guest reads ${reads.count.toLocaleString('en')} pages and writes ${writes.count.toLocaleString('en')} others, in random order. *Work* is the time of
that, *slowdown* its median against the one that is not recorded. *Start* comes before the load, *stop* after the work (with
\`diff\` the guest stands still for most of it). Medians [least–most] in milliseconds.

${parts.vms}

\`diff\` does nothing while the guest works: what its lines show as slowdown is the noise of this machine.

## A pass of mincore over 1 GiB

From an open file to a set of pages: map, mincore(2), runs, unmap; JavaScript and C (\`packages/bench/programs/mincore-pass.c\`,
\`cc -O2\`) in turns.

${parts.passes}
`
