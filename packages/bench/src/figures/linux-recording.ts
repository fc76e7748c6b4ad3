// `node scripts/linux-recording.mjs`: a shell and a Python function in a Linux guest in the nested lab, each recorded twice by every
// recorder; some three minutes. Writes docs/results/linux-recording.md and the raw rows, linux-recording.jsonl.
//   --out DIR   default docs/results
import { mkdirSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build, root } from './setup.mjs'

build()
const { openNestedLab } = await import('@varve/lab')

const { values: options } = parseArgs({ options: { out: { type: 'string' } } })
const out = options.out ?? join(root, 'docs', 'results')
const name = 'linux-recording'
const say = (text) => console.error(`linux recording: ${text}`)

const lab = await openNestedLab({ onProgress: say })
let recorded
let used
try {
  recorded = await inLab('record')
  used = await inLab('use')
} finally {
  await lab.close()
}
const { rows, comparisons } = recorded
mkdirSync(out, { recursive: true })
const lines = [
  ...rows.map((row) => ({ kind: 'recorded', ...row })),
  ...comparisons.map(({ kind, ...rest }) => ({ kind: `compared, ${kind}`, ...rest })),
  ...used.restores.map((row) => ({ kind: 'restored', ...row })),
]
writeFileSync(join(out, `${name}.jsonl`), lines.map((row) => `${JSON.stringify(row)}\n`).join(''))
writeFileSync(join(out, `${name}.md`), document())
say(`${lines.length} rows in ${out}`)

async function inLab(stage) {
  const there = (file) => fileURLToPath(new URL(`../test/nested-lab/${file}`, import.meta.url))
  const run = await lab.run({
    script: there('linux-recording.mjs'),
    files: { 'report.py': there('report.py') },
    args: [stage, 'recording'],
    timeoutMs: 600_000,
    onOutput: (text) => say(text.trimEnd()),
  })
  if (run.exitCode !== 0) throw new Error(run.stderr)
  return run.result
}

function document() {
  const [file, paged] = used.restores
  const cold = rowsOf('report', 'file', 'dropped', 'mincore').map(({ faults }) => faults.major)
  return `# A Linux guest's working sets, by recorder

\`node scripts/linux-recording.mjs\`: Debian's kernel and Python 3 in a guest of 192 MiB, one vCPU, in the nested lab (SVM,
${lab.accelerator === 'tcg' ? 'emulated' : 'by KVM'}; load average of the machine ${loadavg()[1].toFixed(1)}, this included). \`hello\` is a shell script that answers one line; \`report\` is a Python script (a new interpreter each time) that sums 200
orders, JSON in and out. Each ran once before the snapshot. Then, twice with each line of recorders: restore, invoke over vsock, stop
recording. Recorders on one line watch the same runs. Raw rows: [${name}.jsonl](${name}.jsonl). \`test/linux/guests.test.ts\` holds the claims.

Pages, first / second run; Jaccard is of these two runs. *Async*: pages that KVM had a worker fetch while the guest went on
(tracepoint \`kvm_async_pf_completed\`), which counts read pages as written: [why](../notes/async-page-faults.md).

| function | memory | page cache | recorder | touched | read-only | written | Jaccard, touched | Jaccard, written | async |
|---|---|---|---|---:|---:|---:|---:|---:|---:|
${classTable()}

## Between recorders

The first run of each. *Found*: the share of the other's pages that this recorder has, too.

| function | recorder | pages | against | pages | Jaccard | found |
|---|---|---:|---|---:|---:|---:|
${betweenTable()}

## Used

The sets were read from the store by another process, and \`report\` was restored with them (\`prefetch: 'before'\`), the page cache
dropped. It answered right. With the file engine and the set of \`pagemap\` (${file.used.pages} pages, ${file.prefetched.pages} with the gaps read along, ${file.prefetched.requests} requests) the VMM
had ${file.majorFaults} major faults; recorded, without a set, it had ${cold.join(' and ')}. With the paged engine and the set of \`faults\` (${paged.used.pages} pages) all ${paged.prefetched.pages}
were there before the guest ran.
`
}

function rowsOf(fn, engine, cache, recorder) {
  return rows.filter(
    (row) => row.function === fn && row.engine === engine && row.cache === cache && row.recorder === recorder,
  )
}

/** One for each function, way to restore, and recorder; the sets that are kept of two recorders are one more. */
function groups() {
  const keys = ['function', 'engine', 'cache', 'recorder']
  const seen = new Map()
  for (const row of rows) {
    const key = keys.map((it) => row[it]).join()
    seen.set(key, [...(seen.get(key) ?? []), row])
  }
  return [...seen.values()].sort(([a], [b]) => a.function.localeCompare(b.function))
}

function classTable() {
  return groups()
    .map((pair) => {
      const [row] = pair
      const both = (pick) => {
        const [first, second] = pair.map(pick)
        return first === null ? '' : `${first} / ${second}`
      }
      const jaccard = (kind) => compared(kind, pair)?.jaccard.toFixed(3) ?? ''
      const cells = [
        `\`${row.function}\``,
        row.engine,
        row.cache ?? '',
        `\`${row.recorder}\``,
        both(({ present }) => present),
        both(({ present, written }) => (present === null || written === null ? null : present - written)),
        both(({ written }) => written),
        jaccard('present'),
        jaccard('written'),
        both(({ faults }) => faults.async),
      ]
      return `| ${cells.join(' | ')} |`
    })
    .join('\n')
}

function compared(kind, [a, b]) {
  const same = (who, row) =>
    ['function', 'engine', 'cache', 'recorder', 'run'].every((key) => who[key] === row[key])
  return comparisons.find((it) => it.kind === kind && same(it.a, a) && same(it.b, b))
}

function betweenTable() {
  const first = (...who) => rowsOf(...who).find(({ run }) => run === 1)
  const lines = []
  for (const fn of ['hello', 'report']) {
    const warm = first(fn, 'file', 'warm', 'pagemap')
    const dropped = first(fn, 'file', 'dropped', 'pagemap')
    const mincore = first(fn, 'file', 'dropped', 'mincore')
    const faults = first(fn, 'paged', null, 'faults')
    const diff = {
      warm: first(fn, 'file', 'warm', 'diff'),
      dropped: first(fn, 'file', 'dropped', 'diff'),
      paged: first(fn, 'paged', null, 'diff'),
    }
    for (const [kind, a, b] of [
      ['present', warm, faults],
      ['present', dropped, faults],
      ['present', mincore, faults],
      ['present', mincore, dropped],
      ['written', diff.warm, warm],
      ['written', dropped, warm],
      ['written', diff.dropped, dropped],
      ['written', faults, warm],
      ['written', diff.paged, faults],
      ['written', diff.paged, warm],
    ])
      lines.push(betweenLine(kind, a, b))
  }
  return lines.join('\n')
}

function betweenLine(kind, a, b) {
  const { commonPages, jaccard } = compared(kind, [a, b]) ?? compared(kind, [b, a])
  const what = kind === 'present' ? 'touched' : 'written'
  const title = ({ recorder, engine, cache }) =>
    `\`${recorder}\`, ${engine}${cache === null ? '' : ` ${cache}`}`
  const cells = [
    `\`${a.function}\`, ${what}`,
    title(a),
    a[kind],
    title(b),
    b[kind],
    jaccard.toFixed(3),
    (commonPages / b[kind]).toFixed(3),
  ]
  return `| ${cells.join(' | ')} |`
}
