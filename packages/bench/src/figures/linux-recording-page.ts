import { loadavg } from 'node:os'
import type { Accelerator } from '@varve/lab'
import type { RecorderName } from 'varve/working-sets'
import { groupBy } from '../common/numbers.js'

/** Who recorded what; the file engine's memory was in the page cache, or not. */
interface Who {
  readonly function: string
  readonly engine: 'file' | 'paged'
  readonly cache: 'warm' | 'dropped' | null
  readonly recorder: RecorderName
  readonly run: number
}

interface Row extends Who {
  readonly present: number | null
  readonly written: number | null
  readonly faults: { readonly major: number; readonly async: number }
}

type Kind = 'present' | 'written'

interface Comparison {
  readonly kind: Kind
  readonly a: Who
  readonly b: Who
  readonly commonPages: number
  readonly jaccard: number
}

/** What the first stage of test/nested-lab/linux-recording.mjs leaves. */
export interface Recorded {
  readonly rows: readonly Row[]
  readonly comparisons: readonly Comparison[]
}

/** What its second stage leaves: restores by the file and by the paged engine. */
export interface Used {
  readonly restores: readonly {
    readonly majorFaults: number
    readonly used: { readonly pages: number }
    readonly prefetched: { readonly pages: number; readonly requests: number }
  }[]
}

export function linuxRecordingPage(
  { rows, comparisons }: Recorded,
  { restores: [file, paged] }: Used,
  accelerator: Accelerator,
): string {
  const cold = rows.filter(isOf('report', 'file', 'dropped', 'mincore')).map(({ faults }) => faults.major)
  return `# A Linux guest's working sets, by recorder

\`node scripts/bench.mjs linux-recording\`: Debian's kernel and Python 3 in a guest of 192 MiB, one vCPU, in the nested lab (SVM,
${accelerator === 'tcg' ? 'emulated' : 'by KVM'}; load average of the machine ${loadavg()[1]?.toFixed(1)}, this included). \`hello\` is a shell script that answers one line; \`report\` is a Python script (a new interpreter each time) that sums 200
orders, JSON in and out. Each ran once before the snapshot. Then, twice with each line of recorders: restore, invoke over vsock, stop
recording. Recorders on one line watch the same runs. Raw rows: [linux-recording.jsonl](linux-recording.jsonl). \`test/linux/guests.test.ts\` holds the claims.

Pages, first / second run; Jaccard is of these two runs. *Async*: pages that KVM had a worker fetch while the guest went on
(tracepoint \`kvm_async_pf_completed\`), which counts read pages as written: [why](../notes/async-page-faults.md).

| function | memory | page cache | recorder | touched | read-only | written | Jaccard, touched | Jaccard, written | async |
|---|---|---|---|---:|---:|---:|---:|---:|---:|
${classLines(rows, comparisons).join('\n')}

## Between recorders

The first run of each. *Found*: the share of the other's pages that this recorder has, too.

| function | recorder | pages | against | pages | Jaccard | found |
|---|---|---:|---|---:|---:|---:|
${betweenLines(rows, comparisons).join('\n')}

## Used

The sets were read from the store by another process, and \`report\` was restored with them (\`prefetch: 'before'\`), the page cache
dropped. It answered right. With the file engine and the set of \`pagemap\` (${file?.used.pages} pages, ${file?.prefetched.pages} with the gaps read along, ${file?.prefetched.requests} requests) the VMM
had ${file?.majorFaults} major faults; recorded, without a set, it had ${cold.join(' and ')}. With the paged engine and the set of \`faults\` (${paged?.used.pages} pages) all ${paged?.prefetched.pages}
were there before the guest ran.
`
}

const isOf = (fn: string, engine: Who['engine'], cache: Who['cache'], recorder: RecorderName) => (row: Who) =>
  row.function === fn && row.engine === engine && row.cache === cache && row.recorder === recorder

const keyOf = ({ function: fn, engine, cache, recorder }: Who) => [fn, engine, cache, recorder].join()

const same = (a: Who, b: Who) => keyOf(a) === keyOf(b) && a.run === b.run

const compared = (comparisons: readonly Comparison[], kind: Kind, a: Who | undefined, b: Who | undefined) =>
  a === undefined || b === undefined
    ? undefined
    : comparisons.find((it) => it.kind === kind && same(it.a, a) && same(it.b, b))

/** One for each function, way to restore, and recorder: both runs. */
function classLines(rows: readonly Row[], comparisons: readonly Comparison[]): string[] {
  const pairs = [...groupBy(rows, keyOf).values()].sort(([a], [b]) =>
    (a?.function ?? '').localeCompare(b?.function ?? ''),
  )
  return pairs.map((pair) => {
    const [row, again] = pair
    const both = (pick: (row: Row) => number | null) => {
      const [first, second] = pair.map(pick)
      return first === null ? '' : `${first} / ${second}`
    }
    const jaccard = (kind: Kind) => compared(comparisons, kind, row, again)?.jaccard.toFixed(3) ?? ''
    const cells = [
      `\`${row?.function}\``,
      row?.engine,
      row?.cache ?? '',
      `\`${row?.recorder}\``,
      both(({ present }) => present),
      both(({ present, written }) => (present === null || written === null ? null : present - written)),
      both(({ written }) => written),
      jaccard('present'),
      jaccard('written'),
      both(({ faults }) => faults.async),
    ]
    return `| ${cells.join(' | ')} |`
  })
}

function betweenLines(rows: readonly Row[], comparisons: readonly Comparison[]): string[] {
  return ['hello', 'report'].flatMap((fn) => {
    const first = (engine: Who['engine'], cache: Who['cache'], recorder: RecorderName) => {
      const row = rows.filter(isOf(fn, engine, cache, recorder)).find(({ run }) => run === 1)
      if (row === undefined)
        throw new Error(`${recorder} recorded no first run of ${fn} (${engine}, ${cache})`)
      return row
    }
    const warm = first('file', 'warm', 'pagemap')
    const dropped = first('file', 'dropped', 'pagemap')
    const mincore = first('file', 'dropped', 'mincore')
    const faults = first('paged', null, 'faults')
    const diff = {
      warm: first('file', 'warm', 'diff'),
      dropped: first('file', 'dropped', 'diff'),
      paged: first('paged', null, 'diff'),
    }
    const pairs: readonly (readonly [Kind, Row, Row])[] = [
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
    ]
    return pairs.map(([kind, a, b]) => betweenLine(comparisons, kind, a, b))
  })
}

function betweenLine(comparisons: readonly Comparison[], kind: Kind, a: Row, b: Row): string {
  const found = compared(comparisons, kind, a, b) ?? compared(comparisons, kind, b, a)
  const title = ({ recorder, engine, cache }: Who) =>
    `\`${recorder}\`, ${engine}${cache === null ? '' : ` ${cache}`}`
  const cells = [
    `\`${a.function}\`, ${kind === 'present' ? 'touched' : 'written'}`,
    title(a),
    a[kind],
    title(b),
    b[kind],
    found?.jaccard.toFixed(3),
    ((found?.commonPages ?? Number.NaN) / (b[kind] ?? Number.NaN)).toFixed(3),
  ]
  return `| ${cells.join(' | ')} |`
}
