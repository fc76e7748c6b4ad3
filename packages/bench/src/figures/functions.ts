// `node scripts/functions.mjs`: all ten functions in a Linux guest in the nested lab: loaded, invoked, captured, restored for each
// function and input, invoked again; some five minutes. Writes docs/results/functions.md and the raw rows, functions.jsonl.
//   --out DIR       default docs/results
//   --engine NAME   default file
import { mkdirSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build, root } from './setup.mjs'

build()
const { labFunctions, openNestedLab } = await import('@varve/lab')

const { values: options } = parseArgs({ options: { out: { type: 'string' }, engine: { type: 'string' } } })
const out = options.out ?? join(root, 'docs', 'results')
const engine = options.engine ?? 'file'
const memoryMib = 512
const say = (text) => console.error(`functions: ${text}`)

const lab = await openNestedLab({ onProgress: say })
let result
try {
  const names = labFunctions.map(({ name }) => name)
  const run = await lab.run({
    script: fileURLToPath(new URL('../test/nested-lab/linux-functions.mjs', import.meta.url)),
    args: [JSON.stringify({ names, measured: names, memoryMib, inputs: ['a', 'b', 'a4'], engine })],
    timeoutMs: 1_800_000,
    onOutput: (text) => say(text.trimEnd()),
  })
  if (run.exitCode !== 0) throw new Error(run.stderr)
  result = run.result
} finally {
  await lab.close()
}
const { rows, started, memory, bootMs, captureMs } = result
mkdirSync(out, { recursive: true })
const lines = [
  { kind: 'guest', memoryMib, bootMs, captureMs, accelerator: lab.accelerator, memory },
  ...started.map((row) => ({ kind: 'started', ...row })),
  ...rows.map((row) => ({ kind: 'invoked', ...row })),
]
writeFileSync(join(out, 'functions.jsonl'), lines.map((row) => `${JSON.stringify(row)}\n`).join(''))
writeFileSync(join(out, 'functions.md'), document())
say(`${lines.length} rows in ${out}`)
const faults = rows.filter(({ fault }) => fault !== null)
for (const { function: name, input, fault } of faults) say(`${name} on ${input}: ${fault}`)
if (faults.length > 0) process.exitCode = 1

function document() {
  const mib = (kib) => `${Math.round(kib / 1024)} MiB`
  return `# The functions, in a guest

\`node scripts/functions.mjs\`: one guest of ${memoryMib} MiB with all ten functions, one vCPU, in the nested lab (${lab.accelerator === 'tcg' ? 'emulated' : 'by KVM'}; load average of
the machine ${loadavg()[1].toFixed(1)}, this included), so that **times say how functions compare and nothing about speed**; pages are as they are
anywhere. Each was loaded and invoked once with input A, then the guest was captured. For each row the snapshot was restored (engine
\`${engine}\`, memory file in the page cache) and the function invoked with that input, then once more. *Pages* were touched by the guest from its restore to
the first answer (\`pagemap\`), 4 KiB each: the agent's, the kernel's and the interpreter's among them. All ${rows.length} answers ${faultless() ? 'were right' : 'were NOT right'}, both
times. Raw rows: [functions.jsonl](functions.jsonl).

| function | input | size | touched | read-only | written | first ms | again ms |
|---|---|---:|---:|---:|---:|---:|---:|
${rows.map(invoked).join('\n')}

## What they are

| function | | loaded in, ms | first call, ms | resident |
|---|---|---:|---:|---:|
${started.map(loaded).join('\n')}

The guest's own view before the snapshot: ${mib(memory.meminfoKib.MemTotal)} in all, ${mib(memory.meminfoKib.MemAvailable)} available, ${mib(memory.meminfoKib.Cached)} of page cache (its root disk's and its
files in memory). Boot to the agent's first answer ${(bootMs / 1000).toFixed(1)} s; the capture held it up for ${(captureMs / 1000).toFixed(1)} s.
`
}

function faultless() {
  return rows.every(({ fault }) => fault === null)
}

function invoked(row) {
  const { inputs, unit } = labFunctions.find(({ name }) => name === row.function)
  const cells = [
    `\`${row.function}\``,
    { a: 'A', b: 'B', a4: '4×A' }[row.input],
    `${inputs[row.input].size.toLocaleString('en')} ${unit}`,
    row.present,
    row.present - row.written,
    row.written,
    row.guestMs.toFixed(1),
    row.againMs.toFixed(1),
  ]
  return `| ${cells.join(' | ')} |`
}

function loaded({ name, startMs, warmMs }) {
  const { about } = labFunctions.find((it) => it.name === name)
  const { residentKib } = memory.functions.find((it) => it.name === name)
  return `| \`${name}\` | ${about} | ${startMs.toFixed(0)} | ${warmMs.toFixed(0)} | ${(residentKib / 1024).toFixed(0)} MiB |`
}
