import type { GroundTruthRow } from '@varve/scenarios'
import { hardwareVirtualisation } from 'varve/testing'
import { groupBy } from '../common/numbers.js'

/** The pattern that runs with every setting. */
const settingsPattern = 'reads and writes apart'

/** `named`: pages that Firecracker or the guest's own code touch. */
export function groundTruthPage(all: readonly GroundTruthRow[], named: readonly number[]): string {
  const sum = (key: 'expected' | 'missing') => all.reduce((total, row) => total + row[key], 0)
  const exact = all.filter((row) => row.exact)
  const exactExtra = exact.reduce((total, row) => total + row.extra, 0)
  const names = all.map((row) => row.named)
  return `# What recorders find, against the truth

**Of ${sum('expected').toLocaleString('en')} pages that the guest touched or wrote in ${all.length} sets, ${sum('missing')} are missing. Sets that a recorder calls exact
(${exact.length} of them) hold ${exactExtra} pages too many.**

\`npm run ground-truth\` boots a micro guest (32 MiB), takes three layers, restores them once for each run, has the guest touch exactly
known pages, and compares what each recorder found. Raw rows: [ground-truth.jsonl](ground-truth.jsonl). The scenario
\`ground-truth\` holds the same claims as a test (\`node test/scenarios/bin/run-scenarios.js ground-truth\`), natively
(${hardwareVirtualisation() ? 'hardware KVM' : 'software KVM'}) and in the nested lab (SVM, emulated), where the kernel's settings may be changed.

- **expected**: pages that the guest was told to touch (present) or to write (written). \`mincore\` on layers cannot see pages
  that are zero in the image, as no file holds them; there they are not expected.
- A cell says **found (extra)**; extra pages are found, not told, and not explained; in **bold** if the recorder calls the set exact.
  Found pages are the expected ones, the extra ones and ${Math.min(...names)} to ${Math.max(...names)} pages with a name: Firecracker's own and those of the guest's code,
  numbers ${pageList(named)}.

## Written pages

${table(all, 'written')}

With a page server (\`paged\`) KVM on VMX or SVM counts pages that were only read, too ([why](../notes/kvm-dirty-log.md)), unless they
are protected as they are while \`faults\` records. Pages that \`faults\` found less than \`diff\` are ones with a name.

## Present pages

The excess is what the kernel read or mapped around the touched pages: by the device's read-ahead for \`mincore\`
([more of it](../notes/mincore-overcount.md)), by fault-around for \`pagemap\`.

${table(all, 'present')}

By setting, for the pattern "${settingsPattern}". The read-ahead is that of the block device when the file is opened. If
fault-around could not be held at one page, \`pagemap\` gives a bound for the pages too many.

${settingsTable(all)}
`
}

const extraText = ({ exact, extra }: GroundTruthRow) => (exact ? `**${extra}**` : String(extra))

/** A line for each pattern, a column for each recorder and way to watch. */
function table(all: readonly GroundTruthRow[], set: GroundTruthRow['set']): string {
  // Other settings have a table of their own, and make no difference to written pages.
  const rows = all.filter((row) => row.set === set && !/read-ahead|left alone/.test(row.setup))
  const columns = [...groupBy(rows, title).keys()]
  const patterns = groupBy(
    all.filter((row) => row.set === set),
    ({ pattern }) => pattern,
  )
  const lines = [...patterns.keys()].map((pattern) => {
    const mine = rows.filter((row) => row.pattern === pattern)
    const cells = columns.map((column) => {
      const row = mine.find((it) => title(it) === column)
      return row === undefined ? '' : `${row.found} (${extraText(row)})`
    })
    return `| ${pattern} | ${Math.max(...mine.map(({ expected }) => expected))} | ${cells.join(' | ')} |`
  })
  return [
    `| pattern | expected | ${columns.join(' | ')} |`,
    `|---|---:|${columns.map(() => '---:|').join('')}`,
    ...lines,
  ].join('\n')
}

/** Of a column: who watched, where, and under which settings that make a difference. */
function title({ recorder, lab, setup, readAheadKb, faultAroundHeld, set }: GroundTruthRow): string {
  const paged = setup.startsWith('paged')
  const how =
    set === 'written' || recorder === 'faults'
      ? []
      : recorder === 'mincore'
        ? [paged ? 'MADV_RANDOM' : `read-ahead ${readAheadKb} KiB`]
        : [`read-ahead ${readAheadKb} KiB`, `fault-around ${faultAroundHeld ? 'held at 4' : 'of 64'} KiB`]
  return [`\`${recorder}\``, `${memoryOf(setup)}, ${lab}`, ...how].join('<br>')
}

function memoryOf(setup: string): string {
  if (setup === 'paged, protected') return setup
  return setup.startsWith('paged') ? 'paged' : 'file'
}

function settingsTable(all: readonly GroundTruthRow[]): string {
  const rows = all.filter((it) => it.set === 'present' && it.pattern === settingsPattern)
  const lines = rows.map((row) => {
    const paged = row.setup.startsWith('paged')
    const cells = [
      `\`${row.recorder}\``,
      `${memoryOf(row.setup)}, ${row.lab}`,
      paged ? 'none (MADV_RANDOM)' : `${row.readAheadKb} KiB`,
      row.faultAroundHeld === null ? '' : row.faultAroundHeld ? 'held at 4 KiB' : '64 KiB',
      row.expected,
      row.found,
      extraText(row),
      row.tooManyAtMost ?? '',
    ]
    return `| ${cells.join(' | ')} |`
  })
  return [
    '| recorder | memory | read-ahead | fault-around | expected | found | extra | extra at most |',
    '|---|---|---:|---:|---:|---:|---:|---:|',
    ...new Set(lines),
  ].join('\n')
}

/** 0, 9–11, 222. */
function pageList(pages: readonly number[]): string {
  const runs: { readonly start: number; end: number }[] = []
  for (const page of pages) {
    const last = runs.at(-1)
    if (last?.end === page - 1) last.end = page
    else runs.push({ start: page, end: page })
  }
  return runs.map(({ start, end }) => (start === end ? start : `${start}–${end}`)).join(', ')
}
