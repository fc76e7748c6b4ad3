// `node scripts/bench.mjs functions`: all ten functions in a Linux guest in the nested lab: loaded, invoked,
// captured, restored for each function and input, invoked again; some five minutes.
//   --write         page and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
//   --engine NAME   default file
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { type Accelerator, type InputName, labFunction, labFunctions, openNestedLab } from '@varve/lab'
import { resultOptions, say, writeResults } from '../common/results.js'
import { runInLab } from './in-lab.js'

const memoryMib = 512

/** What test/nested-lab/linux-functions.mjs leaves. */
interface FunctionsInLab {
  readonly rows: readonly InvokedRow[]
  readonly started: readonly StartedRow[]
  readonly memory: {
    readonly meminfoKib: Readonly<Record<'MemTotal' | 'MemAvailable' | 'Cached', number>>
    readonly functions: readonly { readonly name: string; readonly residentKib: number }[]
  }
  readonly bootMs: number
  readonly captureMs: number
}

interface InvokedRow {
  readonly function: string
  readonly input: InputName
  readonly present: number
  readonly written: number
  readonly guestMs: number
  readonly againMs: number
  readonly fault: string | null
}

interface StartedRow {
  readonly name: string
  readonly startMs: number
  readonly warmMs: number
}

export async function functionFigures(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { engine: { type: 'string', default: 'file' }, ...resultOptions },
  })
  const { engine } = options
  await using lab = await openNestedLab({ onProgress: say })
  const names = labFunctions.map(({ name }) => name)
  const inputs: readonly InputName[] = ['a', 'b', 'a4']
  const found = (await runInLab(lab, 'linux-functions.mjs', {
    args: [JSON.stringify({ names, measured: names, memoryMib, inputs, engine })],
    timeoutMs: 1_800_000,
  })) as FunctionsInLab
  const { rows, started, memory, bootMs, captureMs } = found
  const { accelerator } = lab
  const page = document(found, engine, accelerator)
  writeResults(
    {
      name: 'functions',
      rows: [
        { kind: 'guest', memoryMib, bootMs, captureMs, accelerator, memory },
        ...started.map((row) => ({ kind: 'started', ...row })),
        ...rows.map((row) => ({ kind: 'invoked', ...row })),
      ],
      parts: { page },
      newPage: (parts) => `${parts.page}\n`,
    },
    options,
  )
  const faults = rows.filter(({ fault }) => fault !== null)
  for (const { function: name, input, fault } of faults) say(`${name} on ${input}: ${fault}`)
  return faults.length > 0 ? 1 : 0
}

function document(
  { rows, started, memory, bootMs, captureMs }: FunctionsInLab,
  engine: string,
  accelerator: Accelerator,
): string {
  const mib = (kib: number) => `${Math.round(kib / 1024)} MiB`
  const faultless = rows.every(({ fault }) => fault === null)
  const { MemTotal, MemAvailable, Cached } = memory.meminfoKib
  return `# The functions, in a guest

\`node scripts/bench.mjs functions\`: one guest of ${memoryMib} MiB with all ten functions, one vCPU, in the nested lab (${accelerator === 'tcg' ? 'emulated' : 'by KVM'}; load average of
the machine ${loadavg()[1]?.toFixed(1)}, this included), so that **times say how functions compare and nothing about speed**; pages are as they are
anywhere. Each was loaded and invoked once with input A, then the guest was captured. For each row the snapshot was restored (engine
\`${engine}\`, memory file in the page cache) and the function invoked with that input, then once more. *Pages* were touched by the guest from its restore to
the first answer (\`pagemap\`), 4 KiB each: the agent's, the kernel's and the interpreter's among them. All ${rows.length} answers ${faultless ? 'were right' : 'were NOT right'}, both
times. Raw rows: [functions.jsonl](functions.jsonl).

| function | input | size | touched | read-only | written | first ms | again ms |
|---|---|---:|---:|---:|---:|---:|---:|
${rows.map(invokedLine).join('\n')}

## What they are

| function | | loaded in, ms | first call, ms | resident |
|---|---|---:|---:|---:|
${started.map((row) => startedLine(row, memory.functions)).join('\n')}

The guest's own view before the snapshot: ${mib(MemTotal)} in all, ${mib(MemAvailable)} available, ${mib(Cached)} of page cache (its root disk's and its
files in memory). Boot to the agent's first answer ${(bootMs / 1000).toFixed(1)} s; the capture held it up for ${(captureMs / 1000).toFixed(1)} s.
`
}

const inputNames: Readonly<Record<InputName, string>> = { a: 'A', b: 'B', a4: '4×A' }

function invokedLine(row: InvokedRow): string {
  const { inputs, unit } = labFunction(row.function)
  const cells = [
    `\`${row.function}\``,
    inputNames[row.input],
    `${inputs[row.input].size.toLocaleString('en')} ${unit}`,
    row.present,
    row.present - row.written,
    row.written,
    row.guestMs.toFixed(1),
    row.againMs.toFixed(1),
  ]
  return `| ${cells.join(' | ')} |`
}

function startedLine(
  { name, startMs, warmMs }: StartedRow,
  resident: FunctionsInLab['memory']['functions'],
): string {
  const kib = resident.find((it) => it.name === name)?.residentKib ?? Number.NaN
  return `| \`${name}\` | ${labFunction(name).about} | ${startMs.toFixed(0)} | ${warmMs.toFixed(0)} | ${(kib / 1024).toFixed(0)} MiB |`
}
