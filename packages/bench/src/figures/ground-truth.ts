// `npm run ground-truth`: each recorder against a guest that touches exactly known pages, natively and in the nested lab, which
// may change settings of its own kernel. Writes docs/results/ground-truth.md and the raw rows, ground-truth.jsonl.
//   --out DIR      default docs/results
//   --no-nested    natively only; the document then says so
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build, root } from './setup.mjs'

build()
const { hardwareVirtualisation } = await import('varve')
const { openNestedLab } = await import('@varve/lab')
const { runScenario, scenarios } = await import('@varve/scenarios')

const { values: options } = parseArgs({
  options: { out: { type: 'string' }, 'no-nested': { type: 'boolean' } },
})
const out = options.out ?? join(root, 'docs', 'results')
const name = 'ground-truth'
/** The pattern that runs with every setting. */
const settingsPattern = 'reads and writes apart'
const say = (text) => console.error(`ground truth: ${text}`)

const outcomes = [await natively()]
if (options['no-nested'] !== true) outcomes.push(await nested())
for (const { ok, error } of outcomes) if (!ok) throw new Error(error)
const rows = outcomes.flatMap(({ facts }) => facts.rows)
mkdirSync(out, { recursive: true })
writeFileSync(join(out, `${name}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
writeFileSync(join(out, `${name}.md`), document(rows, outcomes[0].facts.named))
say(`${rows.length} rows in ${out}`)

async function natively() {
  say('natively')
  return runScenario(scenarios.find((scenario) => scenario.name === name))
}

async function nested() {
  say('in the nested lab, about a minute')
  const lab = await openNestedLab({ onProgress: say })
  try {
    const script = fileURLToPath(new URL('../test/nested-lab/scenarios.mjs', import.meta.url))
    const run = await lab.run({ script, args: [name], timeoutMs: 300_000 })
    if (run.exitCode !== 0) throw new Error(run.stderr)
    return run.result[0]
  } finally {
    await lab.close()
  }
}

function document(all, named) {
  const sum = (key) => all.reduce((total, row) => total + row[key], 0)
  const exactExtra = all.filter(({ exact }) => exact).reduce((total, row) => total + row.extra, 0)
  return `# What recorders find, against the truth

**Of ${sum('expected').toLocaleString('en')} pages that the guest touched or wrote in ${all.length} sets, ${sum('missing')} are missing. Sets that a recorder calls exact
(${all.filter(({ exact }) => exact).length} of them) hold ${exactExtra} pages too many.**

\`npm run ground-truth\` boots a micro guest (32 MiB), takes three layers, restores them once for each run, has the guest touch exactly
known pages, and compares what each recorder found. Raw rows: [ground-truth.jsonl](ground-truth.jsonl). The scenario
\`ground-truth\` holds the same claims as a test (\`node test/scenarios/bin/run-scenarios.js ground-truth\`), natively
(${hardwareVirtualisation() ? 'hardware KVM' : 'software KVM'}) and in the nested lab (SVM, emulated), where the kernel's settings may be changed.

- **expected**: pages that the guest was told to touch (present) or to write (written). \`mincore\` on layers cannot see pages
  that are zero in the image, as no file holds them; there they are not expected.
- A cell says **found (extra)**; extra pages are found, not told, and not explained; in **bold** where the recorder calls the set exact.
  Found pages are the expected ones, the extra ones and ${Math.min(...all.map((row) => row.named))} to ${Math.max(...all.map((row) => row.named))} pages with a name: Firecracker's own and those of the guest's code,
  numbers ${pageList(named)}.

## Written pages

${table(all, 'written')}

With a page server (\`paged\`) KVM on VMX or SVM counts pages that were only read, too ([why](../notes/kvm-dirty-log.md)), unless they
are protected as they are while \`faults\` records. Pages that \`faults\` found less than \`diff\` are ones with a name.

## Present pages

The excess is what the kernel read or mapped around the touched pages: by the device's read-ahead for \`mincore\`
([more of it](../notes/mincore-overcount.md)), by fault-around for \`pagemap\`.

${table(all, 'present')}

By setting, for the pattern "${settingsPattern}". The read-ahead is that of the block device when the file is opened. Where
fault-around could not be held at one page, \`pagemap\` gives a bound for the pages too many.

${settingsTable(all)}
`
}

/** A line for each pattern, a column for each recorder and way to watch. */
function table(all, set) {
  const rows = all.filter((row) => row.set === set)
  // Other settings have a table of their own, and make no difference to written pages.
  const besides = (row) => /read-ahead|left alone/.test(row.setup)
  const columns = unique(
    rows.filter((row) => !besides(row)),
    title,
  )
  const lines = [
    `| pattern | expected | ${columns.map(title).join(' | ')} |`,
    `|---|---:|${columns.map(() => '---:|').join('')}`,
  ]
  for (const { pattern } of unique(rows, (row) => row.pattern)) {
    const mine = rows.filter((row) => row.pattern === pattern && !besides(row))
    const cells = columns.map((column) => {
      const row = mine.find((it) => title(it) === title(column))
      return row === undefined ? '' : `${row.found} (${row.exact ? `**${row.extra}**` : row.extra})`
    })
    lines.push(`| ${pattern} | ${Math.max(...mine.map(({ expected }) => expected))} | ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

function title({ recorder, lab, setup, readAheadKb, faultAroundHeld, set }) {
  const paged = setup.startsWith('paged')
  const how =
    set === 'written' || recorder === 'faults'
      ? []
      : recorder === 'mincore'
        ? [paged ? 'MADV_RANDOM' : `read-ahead ${readAheadKb} KiB`]
        : [`read-ahead ${readAheadKb} KiB`, `fault-around ${faultAroundHeld ? 'held at 4' : 'of 64'} KiB`]
  return [`\`${recorder}\``, `${memoryOf(setup)}, ${lab}`, ...how].join('<br>')
}

function memoryOf(setup) {
  if (setup === 'paged, protected') return setup
  return setup.startsWith('paged') ? 'paged' : 'file'
}

function settingsTable(all) {
  const lines = [
    '| recorder | memory | read-ahead | fault-around | expected | found | extra | extra at most |',
    '|---|---|---:|---:|---:|---:|---:|---:|',
  ]
  for (const row of all.filter((it) => it.set === 'present' && it.pattern === settingsPattern)) {
    const paged = row.setup.startsWith('paged')
    const cells = [
      `\`${row.recorder}\``,
      `${memoryOf(row.setup)}, ${row.lab}`,
      paged ? 'none (MADV_RANDOM)' : `${row.readAheadKb} KiB`,
      row.faultAroundHeld === null ? '' : row.faultAroundHeld ? 'held at 4 KiB' : '64 KiB',
      row.expected,
      row.found,
      row.exact ? `**${row.extra}**` : row.extra,
      row.tooManyAtMost ?? '',
    ]
    const line = `| ${cells.join(' | ')} |`
    if (!lines.includes(line)) lines.push(line)
  }
  return lines.join('\n')
}

function unique(list, keyOf) {
  const seen = new Map()
  for (const item of list) if (!seen.has(keyOf(item))) seen.set(keyOf(item), item)
  return [...seen.values()]
}

/** 0, 9–11, 222. */
function pageList(pages) {
  const runs = []
  for (const page of pages)
    if (runs.at(-1)?.end === page - 1) runs.at(-1).end = page
    else runs.push({ start: page, end: page })
  return runs.map(({ start, end }) => (start === end ? start : `${start}–${end}`)).join(', ')
}
