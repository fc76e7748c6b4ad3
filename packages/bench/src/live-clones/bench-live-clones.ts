// `npm run bench:live-clones`: how soon a clone of a running machine answers, against an ordinary restore by
// `paged` of a snapshot of the same machine, and how soon 16 are ready. Contenders take turns in each round.
// An answer is a check, by the guest, of 256 pages. `first clone`: of the process, whose helper process must
// be started; another one waits for the next clones.
//   --rounds N   default 10     --memory MIB  default 256     --written MIB  default 64
//   --write      table and raw rows into docs/results
//   --out DIR    into DIR       --rows FILE   raw rows into FILE
import { parseArgs } from 'node:util'
import { bootMicroGuest, MicroConsole } from '@varve/lab'
import { nearestRank } from '@varve/lab/testing'
import {
  captureSnapshot,
  cloneMachines,
  findFirecracker,
  openLocalStore,
  type PausedMachine,
  type Restored,
  type RunningMachine,
  restoreMachine,
  type SnapshotStore,
} from 'varve'
import { endIdleFreezer } from 'varve/testing'
import { loadNow, machineText, thisMachine } from '../common/machine.js'
import { hundredths, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'

const ways = ['restore', 'first clone', 'clone', '16 restores', '16 clones'] as const
type Way = (typeof ways)[number]
const many = 16
const tag = 'source'

interface Row {
  readonly way: Way
  readonly round: number
  /** From the request until the first answer of the first, ms. */
  readonly ms: number
  /** The same from when the source runs again; null for restores. */
  readonly fromResumeMs: number | null
  /** From the request until all are ready, ms. */
  readonly allMs: number
  /** Of the source, ms; null for restores. */
  readonly standstillMs: number | null
  /** From the request until the snapshot is sealed and the clones are served from it, ms. */
  readonly sealedMs: number | null
}

interface World {
  readonly machine: RunningMachine
  readonly store: SnapshotStore
  readonly launch: {
    readonly binary: Awaited<ReturnType<typeof findFirecracker>>
    readonly runtimeDirectory: string
  }
}

const answered = { start: 4096, count: 256, stride: 7 }

export async function benchLiveClones(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      ...{ rounds: { type: 'string' }, memory: { type: 'string' }, written: { type: 'string' } },
      ...resultOptions,
    },
  })
  const rounds = Number(options.rounds ?? 10)
  const memoryMib = Number(options.memory ?? 256)
  const writtenMib = Number(options.written ?? 64)
  using scratch = openScratch()
  const launch = { binary: await findFirecracker(), runtimeDirectory: scratch.path('run') }
  const store = await openLocalStore(scratch.path('store'), { create: true })
  const { machine, console } = await bootMicroGuest({ ...launch, memoryMib })
  const rows: Row[] = []
  try {
    await console.fill({ start: 4096, count: writtenMib * 256 }, 1)
    await captureSnapshot(machine, { store, tags: [tag] })
    const world = { machine, store, launch }
    // The first is for the caches, and for the page server.
    for (let round = 0; round <= rounds; round++)
      for (const way of turned(ways, round)) {
        // What a clone finds in the frozen memory: as much as there is in the layer.
        await console.fill({ start: 4096, count: writtenMib * 256 }, 1)
        const row = { way, round, ...(await measured(way, world)) }
        if (round > 0) rows.push(row)
      }
  } finally {
    await console[Symbol.asyncDispose]()
    await machine.stop()
  }
  say(`${rounds} rounds`)
  const table = tableOf(rows)
  process.stdout.write(`${table}\n`)
  const what = `${memoryMib} MiB of memory, ${writtenMib} MiB of them written since the last snapshot`
  const where = `${machineText()}, ${rounds} rounds; ${what}. Raw rows: [live-clones.jsonl](live-clones.jsonl).`
  writeResults(
    {
      name: 'live-clones',
      rows: [{ ...thisMachine(), rounds, memoryMib, writtenMib, load: loadNow() }, ...rows],
      parts: { table: `${where}\n\n${table}` },
      newPage: ({ table: text }) => `# Live clones\n\n${text}\n`,
    },
    options,
  )
}

async function measured(way: Way, { machine, store, launch }: World): Promise<Omit<Row, 'way' | 'round'>> {
  if (way === 'first clone') endIdleFreezer()
  const begin = performance.now()
  const since = () => hundredths(performance.now() - begin)
  const ofSource = { fromResumeMs: null, standstillMs: null, sealedMs: null }
  if (way === 'restore') {
    await using restored = await restoreMachine(store, tag, { ...launch, engine: 'paged' })
    const allMs = since()
    await answer(restored)
    return { ...ofSource, ms: since(), allMs }
  }
  if (way === '16 restores') {
    await using restored = await cloneMachines(store, tag, many, { ...launch, engine: 'paged' })
    const allMs = since()
    await answer(restored[0] as Restored<RunningMachine>)
    return { ...ofSource, ms: since(), allMs }
  }
  let first: Promise<number> | undefined
  const onClone = (clone: Restored<RunningMachine | PausedMachine>) => {
    first ??= answer(clone).then(since)
  }
  const count = way === '16 clones' ? many : 1
  await using clones = await cloneMachines(machine, count, { ...launch, store, onClone })
  const allMs = since()
  const ms = (await first) ?? Number.NaN
  await clones.sealed
  return {
    ...{ ms, allMs, sealedMs: since() },
    fromResumeMs: hundredths(ms - clones.takenMs),
    standstillMs: hundredths(clones.standstillMs ?? Number.NaN),
  }
}

async function answer({ machine }: Restored<RunningMachine | PausedMachine>): Promise<void> {
  await using console = MicroConsole.attach(machine.paths)
  await console.verify(answered, 1)
}

const names: Record<Way, string> = {
  restore: 'restore by `paged`',
  'first clone': 'live clone, the first of its process',
  clone: 'live clone',
  '16 restores': '16 restores by `paged`',
  '16 clones': '16 live clones',
}

function tableOf(rows: readonly Row[]): string {
  const lines = ways.map((way) => {
    const of = (name: Exclude<keyof Row, 'way' | 'round'>, share = 0.5) => {
      const values = rows.filter((row) => row.way === way).flatMap((row) => row[name] ?? [])
      return values.length === 0 ? '' : nearestRank(values, share).toFixed(1)
    }
    const quartiles = `${of('ms', 0.25)} to ${of('ms', 0.75)}`
    const answers = `${of('ms')} | ${quartiles} | ${of('fromResumeMs')}`
    return `| ${names[way]} | ${answers} | ${of('allMs')} | ${of('standstillMs')} | ${of('sealedMs')} |`
  })
  return [
    '| median ms | first answer | quartiles | from the resume of the source | all run | source stood still | sealed |',
    '|---|---:|---:|---:|---:|---:|---:|',
    ...lines,
  ].join('\n')
}
