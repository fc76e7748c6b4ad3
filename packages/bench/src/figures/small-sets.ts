// `node scripts/bench.mjs small-sets`: what makes working sets small. All ten functions in Linux guests in
// the nested lab, prepared in different ways before the capture; each restored and invoked once; 15 minutes.
//   --write         page and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
//   --functions A,B  only these
import { parseArgs } from 'node:util'
import { labFunctions, openNestedLab } from '@varve/lab'
import { resultOptions, say, writeResults } from '../common/results.js'
import { runInLab } from './in-lab.js'

const memoryMib = 512

interface SnapshotRow {
  readonly kind: 'snapshot'
  readonly way: string
  readonly pages: number
  readonly dataPages: number
}

interface InvokedRow {
  readonly kind: 'invoked'
  readonly way: string
  readonly function: string
  readonly touched: number
  readonly written: number
  readonly fault: string | null
}

export async function smallSets(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { functions: { type: 'string' }, ...resultOptions },
  })
  const names = options.functions?.split(',') ?? labFunctions.map(({ name }) => name)
  await using lab = await openNestedLab({ onProgress: say })
  const rows = (await runInLab(lab, 'small-sets.mjs', {
    args: [JSON.stringify({ names, memoryMib, input: 'b' })],
    timeoutMs: 1_800_000,
  })) as readonly (SnapshotRow | InvokedRow)[]
  const parts = { page: document(rows) }
  writeResults({ name: 'small-sets', rows, parts, newPage: (of) => `${of.page}\n` }, options)
  const faults = rows.flatMap((it) => (it.kind === 'invoked' && it.fault !== null ? [it] : []))
  for (const { way, function: name, fault } of faults) say(`${way}, ${name}: ${fault}`)
  return faults.length > 0 ? 1 : 0
}

function document(rows: readonly (SnapshotRow | InvokedRow)[]): string {
  const snapshots = rows.filter((it) => it.kind === 'snapshot')
  const invoked = rows.filter((it) => it.kind === 'invoked')
  const ways = snapshots.map(({ way }) => way)
  const names = [...new Set(invoked.map((it) => it.function))]
  const cell = (name: string, way: string) => {
    const row = invoked.find((it) => it.function === name && it.way === way)
    return row === undefined ? '' : `${row.touched} / ${row.written}`
  }
  const mean = (way: string, of: (row: InvokedRow) => number) => {
    const all = invoked.filter((it) => it.way === way).map(of)
    return Math.round(all.reduce((sum, it) => sum + it, 0) / all.length)
  }
  const line = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`
  return `# What makes working sets small

\`node scripts/bench.mjs small-sets\`: one guest of ${memoryMib} MiB with ${names.length} functions for each way of preparing it, one vCPU, in the nested lab. Each function
was loaded, invoked once with input A (but for *never invoked*), and the guest captured. Then the snapshot was restored for each function (engine \`file\`), and the
function invoked with input B. *Touched / written*: pages that the guest touched from the restore to the answer (\`pagemap\`), 4 KiB
each, the agent's, the kernel's and the interpreter's among them. One run each. Raw rows: [small-sets.jsonl](small-sets.jsonl).

${line('function', ...ways)}
|---|${ways.map(() => '---:|').join('')}
${names.map((name) => line(`\`${name}\``, ...ways.map((way) => cell(name, way)))).join('\n')}
${line('mean', ...ways.map((way) => `${mean(way, (it) => it.touched)} / ${mean(way, (it) => it.written)}`))}
${line('data pages of the snapshot', ...snapshots.map(({ dataPages }) => dataPages))}

- *caches dropped*: \`sync; echo 3 >/proc/sys/vm/drop_caches\` right before the capture.
- *init_on_free*: the kernel's boot argument \`init_on_free=1\`, which clears memory when it is given back.
- *never invoked*: loaded only; the first call comes after the restore.`
}
