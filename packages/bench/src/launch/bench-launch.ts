// `npm run bench:launch`: how long JavaScript stands still while a process is started, by
// `child_process.spawn`, which forks, and by Varve's posix_spawn; and the whole launch of a
// Firecracker, until its API answers. With a small heap and with a large one. Both start
// `firecracker --version`. Interleaved.
//   --rounds N   default 30     --heap LIST  MiB, default 20,500
//   --write      table and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE  raw rows into FILE
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { nearestRank } from '@varve/lab/testing'
import { type FirecrackerBinary, findFirecracker, launchMachine } from 'varve'
import { spawnProcess } from 'varve/testing'
import { loadNow, machineText, thisMachine } from '../common/machine.js'
import { hundredths, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'

const ways = ['fork', 'posix_spawn', 'launch'] as const
type Way = (typeof ways)[number]

interface Row {
  readonly heapMib: number
  readonly round: number
  readonly way: Way
  /** For `launch` the whole call, else the part in which JavaScript stands still. */
  readonly ms: number
}

export async function benchLaunch(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { rounds: { type: 'string' }, heap: { type: 'string' }, ...resultOptions },
  })
  const rounds = Number(options.rounds ?? 30)
  const heaps = (options.heap ?? '20,500').split(',').map(Number)
  using scratch = openScratch()
  const binary = await findFirecracker()
  const start: Record<Way, () => Promise<number>> = {
    fork: () => forked(binary),
    posix_spawn: () => spawned(binary, scratch.directory),
    launch: () => launched(binary, scratch.path('run')),
  }
  const rows: Row[] = []
  const ballast: number[][] = []
  for (const heapMib of heaps) {
    fill(ballast, heapMib)
    // The first is for the caches.
    for (let round = 0; round <= rounds; round++)
      for (const way of turned(ways, round)) {
        const ms = hundredths(await start[way]())
        if (round > 0) rows.push({ heapMib, round, way, ms })
      }
    say(`${rounds} rounds with a heap of ${used()} MiB`)
  }
  const table = tableOf(rows, heaps)
  process.stdout.write(`${table}\n`)
  const environment = {
    ...thisMachine(),
    rounds,
    load: loadNow(),
  }
  const where = `${machineText()}, ${rounds} rounds. Raw rows: [launch.jsonl](launch.jsonl).`
  writeResults(
    {
      name: 'launch',
      rows: [environment, ...rows],
      parts: { table: `${where}\n\n${table}` },
      newPage: ({ table: text }) => `# Launching Firecracker\n\n${text}\n`,
    },
    options,
  )
}

const used = () => Math.round(process.memoryUsage().heapUsed / 2 ** 20)

/** Fills the heap itself: a buffer would lie outside of it. */
function fill(ballast: number[][], heapMib: number): void {
  while (used() < heapMib) ballast.push(Array.from({ length: 2 ** 20 }, (_, index) => index + 0.5))
}

async function forked(binary: FirecrackerBinary): Promise<number> {
  const begin = performance.now()
  const child = spawn(binary.path, ['--version'], { detached: true, stdio: 'ignore' })
  const ms = performance.now() - begin
  await once(child, 'exit')
  return ms
}

async function spawned(binary: FirecrackerBinary, directory: string): Promise<number> {
  const none = openSync('/dev/null', 'r+')
  try {
    const begin = performance.now()
    const child = spawnProcess({
      file: binary.path,
      args: ['--version'],
      directory,
      stdio: [none, none, none],
      umask: 0o077,
    })
    const ms = performance.now() - begin
    await child.exited
    return ms
  } finally {
    closeSync(none)
  }
}

async function launched(binary: FirecrackerBinary, runtimeDirectory: string): Promise<number> {
  const begin = performance.now()
  await using _machine = await launchMachine({ binary, runtimeDirectory })
  return performance.now() - begin
}

function tableOf(rows: readonly Row[], heaps: readonly number[]): string {
  const cells = (way: Way, heapMib: number) => {
    const values = rows.filter((row) => row.way === way && row.heapMib === heapMib).map(({ ms }) => ms)
    return [0.5, 0.25, 0.75].map((share) => nearestRank(values, share).toFixed(2))
  }
  const names: Record<Way, string> = {
    fork: 'JavaScript stands still, `child_process.spawn`',
    posix_spawn: 'JavaScript stands still, posix_spawn',
    launch: '`launchMachine`, until the API answers',
  }
  const lines = ways.flatMap((way) =>
    heaps.map((heapMib) => {
      const [half, low, high] = cells(way, heapMib)
      return `| ${names[way]} | ${heapMib} | ${half} | ${low} to ${high} |`
    }),
  )
  return `| what | heap, MiB | median ms | quartiles |\n|---|---:|---:|---:|\n${lines.join('\n')}`
}
