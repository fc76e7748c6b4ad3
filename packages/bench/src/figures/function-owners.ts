// `node scripts/bench.mjs function-owners`: who in the guest has the pages of each function's working set.
// All ten functions in one Linux guest in the nested lab; 8 minutes on a busy machine.
//   --write         page and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
//   --functions A,B  only these
import { parseArgs } from 'node:util'
import { labFunctions, openNestedLab } from '@varve/lab'
import { median } from '@varve/lab/testing'
import { resultOptions, say, writeResults } from '../common/results.js'
import { runInLab } from './in-lab.js'
import { type OwnedSum, type OwnerSums, pagesOf } from './owner-sums.js'

const memoryMib = 512

interface FunctionOwners extends OwnerSums {
  readonly function: string
  /** What is wrong with its answer, or null. */
  readonly fault: string | null
  /** How long the explanation took, emulated. */
  readonly askedMs: number
}

export async function functionOwners(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { functions: { type: 'string' }, ...resultOptions },
  })
  const names = options.functions?.split(',') ?? labFunctions.map(({ name }) => name)
  await using lab = await openNestedLab({ onProgress: say })
  const rows = (await runInLab(lab, 'function-owners.mjs', {
    files: ['owner-sums.mjs'],
    args: [JSON.stringify({ names, memoryMib })],
    timeoutMs: 3_600_000,
  })) as readonly FunctionOwners[]
  const parts = { page: functionOwnersPage(rows) }
  writeResults({ name: 'function-owners', rows, parts, newPage: (of) => `${of.page}\n` }, options)
  return rows.some(({ fault }) => fault !== null) ? 1 : 0
}

const ownMemory = /^(anonymous|heap|stack|private copy)$/

/** Who has the pages: columns of the table, each page in the first that takes it. */
const columns: readonly (readonly [name: string, of: (it: OwnedSum, own: number) => boolean])[] = [
  ['its memory', ({ pid, what }, own) => pid === own && ownMemory.test(what)],
  ['agent', ({ who }) => who === 'agent'],
  ['programs and libraries', ({ who, what }) => who !== '' && what === 'file'],
  ['other files', ({ what }) => what === 'file'],
  ['kernel: code and data', ({ what }) => /^kernel: (code|rodata|data|bss)$/.test(what)],
  ['kernel: its memory', ({ what }) => what.startsWith('kernel: ')],
  ['other processes', ({ who }) => who !== ''],
  ['free', ({ what }) => what === 'free'],
  ['unexplained', () => true],
]

/** The process that has the most memory of its own in the set: that of the function. */
const processOf = (owners: readonly OwnedSum[]): number =>
  owners.find(({ pid, what }) => pid !== 0 && ownMemory.test(what))?.pid ?? 0

export function functionOwnersPage(rows: readonly FunctionOwners[]): string {
  const line = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`
  const cells = ({ owners: all, pages }: FunctionOwners) => {
    const own = processOf(all)
    const at = (it: OwnedSum) => columns.findIndex(([, of]) => of(it, own))
    return columns.map((_, index) => {
      const count = pagesOf(all, (it) => at(it) === index)
      return `${count} (${Math.round((100 * count) / Math.max(1, pages))} %)`
    })
  }
  return `# Who has the pages of the functions' working sets

\`node scripts/bench.mjs function-owners\`: one guest of ${memoryMib} MiB with ${rows.length} functions and one vCPU, in the nested lab. Each function was loaded, invoked once with input A, and the
guest captured. Then the snapshot was restored for each function (engine \`file\`, recorder \`pagemap\`), the function invoked with input B, and the guest asked who has the pages that it
touched until then ([how](../guides/working-sets.md#who-made-a-page-hot)). Pages of 4 KiB, and their share of the set; one run each. The question took
${(median(rows.map(({ askedMs }) => askedMs)) / 1000).toFixed(1)} s (median, emulated). Raw rows: [function-owners.jsonl](function-owners.jsonl).

${line('function', 'pages', ...columns.map(([name]) => name))}
|---|---:|${columns.map(() => '---:|').join('')}
${rows.map((row) => line(`\`${row.function}\``, row.pages, ...cells(row))).join('\n')}

- *its memory*: anonymous memory, heap, stack and private copies of files, of the function's process.
- *programs and libraries*: pages of files that a process maps. The interpreter's are shared by all functions of one runtime.
- *other files*: the page cache of files that no process maps.
- *kernel: its memory*: slab, page tables, memory that was reserved at boot.
- *free*: without an owner when the guest was asked.`
}
