// `npm run bench:vm-faults`: what the page server costs a real VM. Page cache warm, rounds
// interleaved, every answer checked.
//   sparse  a micro guest reads one word in 6,144 pages, 13 apart. `vanilla`: the flat file, mapped by
//           Firecracker; `example`: the handler in C like Firecracker's example (programs/uffd-handler.c);
//           `paged`: a page server that runs already
//   eight   eight restores at once by `paged`, with the set of those pages brought alongside, and without:
//           from the call until the guest has answered once (`first`), and until it has read 1,024 of the
//           set's pages (`all`); medians of the eight
//   --rounds N   default 10     --what LIST   of sparse, eight
//   --write      raw rows into docs/results        --out DIR   into DIR        --rows FILE   into FILE
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bootMicroGuest, MicroConsole, type TouchPattern } from '@varve/lab'
import { nearestRank } from '@varve/lab/testing'
import {
  captureSnapshot,
  findFirecracker,
  flattenSnapshot,
  type LaunchedMachine,
  type LoadOptions,
  type LocalStore,
  launchMachine,
  openLocalStore,
  type RestoreOptions,
  type RunningMachine,
  restoreMachine,
} from 'varve'
import { loadOptionsOf } from 'varve/testing'
import { emptyPageSet, pageSetFromPages } from 'varve/working-sets'
import { startCHandler } from '../common/c-handler.js'
import { compileC } from '../common/child.js'
import { loadNow, thisMachine } from '../common/machine.js'
import { middle, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'

const memoryMib = 384
const seed = 1
const pattern = { start: 1024, count: 6144, stride: 13 }
/** In the set of `pattern`. */
const firstOfSet = { ...pattern, count: 1024 }

const wayNames = ['vanilla', 'example', 'paged'] as const
const settings = ['without', 'with'] as const
const moments = ['first', 'all'] as const

type Moments = Record<(typeof moments)[number], number>

/** Of a round, what was measured of it. */
interface Row extends Partial<Record<(typeof settings)[number], Moments>> {
  readonly round: number
  readonly load: number
  vanillaMs?: number
  exampleMs?: number
  pagedMs?: number
}

/** A VM that runs, and what ends it. */
interface Way {
  readonly machine: RunningMachine
  end(): Promise<void>
}

type Launch = { [Name in 'binary' | 'runtimeDirectory']: NonNullable<RestoreOptions[Name]> }

export async function benchVmFaults(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { rounds: { type: 'string' }, what: { type: 'string' }, ...resultOptions },
  })
  const rounds = Number(options.rounds ?? 10)
  const whats = (options.what ?? 'sparse,eight').split(',')
  using scratch = openScratch()
  const launch: Launch = { binary: await findFirecracker(), runtimeDirectory: scratch.path('run') }
  const handler = scratch.path('uffd-handler')
  if (!compileC('uffd-handler.c', handler)) throw new Error('the handler needs a C compiler (cc)')
  // A server lives as long as the run.
  process.env.VARVE_PAGE_SERVER_LINGER_MS = '60000'
  const store = await openLocalStore(scratch.path('store'), { create: true })
  await makeSnapshot(store, launch)
  await using snapshot = await store.open('base')
  const { path: flat } = await flattenSnapshot(snapshot)

  const load = async (memoryOf: (launched: LaunchedMachine) => Promise<Loading>): Promise<Way> => {
    const launched = await launchMachine(launch)
    const { memory, end } = await memoryOf(launched)
    const machine = await launched.loadAndResume({ ...loadOptionsOf(snapshot), memory })
    return {
      machine,
      end: async () => {
        await machine.stop()
        await end?.()
      },
    }
  }
  const ways = {
    vanilla: () => load(async () => ({ memory: { backend: 'File', path: flat } })),
    example: () => load((launched) => startCHandler(handler, launched, flat)),
    paged: () => restore(store, launch, {}),
  }
  const rows: Row[] = []
  for (let round = 0; round <= rounds; round++) {
    say(`round ${round} of ${rounds}`)
    const row: Row = { round, load: loadNow() }
    if (whats.includes('sparse'))
      for (const name of turned(wayNames, round)) row[`${name}Ms`] = await passOf(ways[name])
    if (whats.includes('eight'))
      for (const set of turned(settings, round))
        row[set] = await eight(() =>
          restore(store, launch, set === 'with' ? { workingSet: 'set', prefetch: 'concurrent' } : {}),
        )
    // The first is for the caches, and for the page server's start.
    if (round > 0) rows.push(row)
    else await sleep(5000)
  }
  process.stdout.write(report(rows))
  const environment = {
    ...thisMachine(),
    firecracker: launch.binary.version,
    rounds,
  }
  writeResults({ name: 'vm-faults', rows: [environment, ...rows] }, options)
}

interface Loading {
  readonly memory: LoadOptions['memory']
  end?(): Promise<void>
}

async function makeSnapshot(store: LocalStore, launch: Launch): Promise<void> {
  await using booted = await bootMicroGuest({ memoryMib, ...launch })
  const { machine, console: guest } = booted
  await guest.write({ ...pattern, count: pattern.count * pattern.stride, stride: 1 }, seed)
  const { entry } = await captureSnapshot(await machine.pause(), { store, tags: ['base'] })
  await store.saveWorkingSet('base', 'set', {
    image: entry.id,
    pages: memoryMib * 256,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: pageSetFromPages(
      Array.from({ length: pattern.count }, (_, index) => pattern.start + index * pattern.stride),
    ),
    written: emptyPageSet,
    groups: [],
    notes: {},
  })
}

type SetWish = Pick<RestoreOptions, 'workingSet' | 'prefetch'>

async function restore(store: LocalStore, launch: Launch, wish: SetWish): Promise<Way> {
  const { machine } = await restoreMachine(store, 'base', { ...launch, engine: 'paged', ...wish })
  return { machine, end: async () => void (await machine.stop()) }
}

/** How long the guest takes to read the pages, from the command to its answer, in ms. */
async function passOf(way: () => Promise<Way>): Promise<number> {
  const { machine, end } = await way()
  const guest = MicroConsole.attach(machine.paths)
  try {
    await guest.ping()
    const begin = performance.now()
    await readRight(guest, pattern)
    return performance.now() - begin
  } finally {
    await guest[Symbol.asyncDispose]()
    await end()
  }
}

async function readRight(guest: MicroConsole, pages: TouchPattern): Promise<void> {
  if ((await guest.verify(pages, seed, { words: 1 })) !== pages.count) throw new Error('pages are missing')
}

async function eight(way: () => Promise<Way>): Promise<Moments> {
  const ends: (() => PromiseLike<void>)[] = []
  try {
    const times = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const begin = performance.now()
        const { machine, end } = await way()
        ends.push(end)
        const guest = MicroConsole.attach(machine.paths)
        ends.push(() => guest[Symbol.asyncDispose]())
        await guest.ping()
        const first = performance.now() - begin
        await readRight(guest, firstOfSet)
        return { first, all: performance.now() - begin }
      }),
    )
    return { first: middle(times.map(({ first }) => first)), all: middle(times.map(({ all }) => all)) }
  } finally {
    await Promise.all(ends.map((end) => end()))
  }
}

/** A line for each figure that the rows have. */
function report(rows: readonly Row[]): string {
  const line = (name: string, of: (row: Row) => number | undefined) => {
    const values = rows.flatMap((row) => of(row) ?? [])
    if (values.length === 0) return []
    const [low, half, high] = [0.25, 0.5, 0.75].map((share) => nearestRank(values, share).toFixed(2))
    return [`| ${name} | ${half} | ${low} to ${high} |`]
  }
  const beyond = ({ vanillaMs, exampleMs, pagedMs }: Row) =>
    vanillaMs === undefined || exampleMs === undefined || pagedMs === undefined
      ? undefined
      : (exampleMs - vanillaMs) / (pagedMs - vanillaMs)
  const ratio = (moment: keyof Moments) => (row: Row) =>
    row.with === undefined || row.without === undefined ? undefined : row.with[moment] / row.without[moment]
  const lines = [
    ...wayNames.flatMap((name) => line(`${name}, ms`, (row) => row[`${name}Ms`])),
    ...line('beyond vanilla, `example` over `paged`', beyond),
    ...moments.flatMap((moment) => [
      ...settings.flatMap((set) => line(`${moment}, ${set} set, ms`, (row) => row[set]?.[moment])),
      ...line(`${moment}, with over without`, ratio(moment)),
    ]),
  ]
  const load = middle(rows.map((row) => row.load)).toFixed(1)
  return `load ${load}\n\n| what | median | quartiles |\n|---|---:|---:|\n${lines.join('\n')}\n`
}
