// `npm run bench:vm-faults`: what the page server costs a real VM. Page cache warm, rounds
// interleaved, every answer checked.
//   sparse  a micro guest reads one word in 6,144 pages, 13 apart. `vanilla`: the flat file, mapped by
//           Firecracker; `example in C`: the handler like Firecracker's example (programs/uffd-handler.c);
//           `example`: a handler of yours, with --example; `paged`: a page server that runs already
//   dense   the same for each of 16,384 pages
//   scattered   the same for 156 pages, each in a huge page of its own; not by default
//   eight   eight restores at once by `paged`, with the set of the sparse pages brought alongside, and
//           without: from the call until the guest has answered once (`first`), and until it has read 1,024
//           of the set's pages (`all`); medians of the eight
//   --rounds N       default 10     --what LIST   of sparse, dense, scattered, eight
//   --huge           a guest on huge pages, too: the host must keep 192 of them free (vm.nr_hugepages)
//   --example PATH   a handler that is called as Firecracker's are (PATH SOCKET MEMORY-FILE)
//   --write          into docs/results          --out DIR   into DIR        --rows FILE   raw rows into FILE
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bootMicroGuest, MicroConsole, type TouchPattern } from '@varve/lab'
import {
  captureSnapshot,
  findFirecracker,
  flattenSnapshot,
  formatFirecrackerVersion,
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
import { compileC } from '../common/child.js'
import { startCHandler, startExample } from '../common/handlers.js'
import { loadNow, thisMachine } from '../common/machine.js'
import { middle, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import {
  type Moments,
  type PatternName,
  patternNames,
  settings,
  type VmFaultRow,
  type WayName,
  wayNames,
} from './vm-fault-rows.js'
import { vmFaultsParts } from './vm-faults-report.js'

const memoryMib = 384
const seed = 1
const patterns: Readonly<Record<PatternName, TouchPattern>> = {
  sparse: { start: 1024, count: 6144, stride: 13 },
  dense: { start: 1024, count: 16_384, stride: 1 },
  scattered: { start: 1024, count: 156, stride: 512 },
}
/** What the guest has written: the pages of all. */
const written: TouchPattern = { start: 1024, count: 6144 * 13, stride: 1 }
/** In the set of the sparse pages. */
const firstOfSet = { ...patterns.sparse, count: 1024 }

/** A VM that runs, and what ends it. */
interface Way {
  readonly machine: RunningMachine
  end(): Promise<void>
}

type Launch = { [Name in 'binary' | 'runtimeDirectory']: NonNullable<RestoreOptions[Name]> }

export async function benchVmFaults(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      what: { type: 'string' },
      example: { type: 'string' },
      huge: { type: 'boolean', default: false },
      ...resultOptions,
    },
  })
  const rounds = Number(options.rounds ?? 10)
  const whats = (options.what ?? 'sparse,dense,eight').split(',')
  using scratch = openScratch()
  const launch: Launch = { binary: await findFirecracker(), runtimeDirectory: scratch.path('run') }
  const handler = scratch.path('uffd-handler')
  if (!compileC('uffd-handler.c', handler)) throw new Error('the handler needs a C compiler (cc)')
  // A server lives as long as the run.
  process.env.VARVE_PAGE_SERVER_LINGER_MS = '60000'
  const store = await openLocalStore(scratch.path('store'), { create: true })
  await makeSnapshot(store, launch, 'base')
  if (options.huge) await makeSnapshot(store, launch, 'huge')
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
  const { example, huge } = options
  const ways: Readonly<Partial<Record<WayName, () => Promise<Way>>>> = {
    vanilla: () => load(async () => ({ memory: { backend: 'File', path: flat } })),
    'example in C': () => load((launched) => startCHandler(handler, launched, flat)),
    ...(example && { example: () => load((launched) => startExample(resolve(example), launched, flat)) }),
    paged: () => restore(store, launch, 'base', {}),
    ...(huge && { huge: () => restore(store, launch, 'huge', {}) }),
  }
  const rows: VmFaultRow[] = []
  for (let round = 0; round <= rounds; round++) {
    say(`round ${round} of ${rounds}`)
    const row: VmFaultRow = { round, load: loadNow() }
    for (const pattern of patternNames.filter((name) => whats.includes(name))) {
      const times: Partial<Record<WayName, number>> = {}
      for (const name of turned(wayNames, round)) {
        const way = ways[name]
        if (way !== undefined) times[name] = await passOf(way, patterns[pattern])
      }
      row[pattern] = times
    }
    if (whats.includes('eight'))
      for (const set of turned(settings, round))
        row[set] = await eight(() =>
          restore(store, launch, 'base', set === 'with' ? { workingSet: 'set', prefetch: 'concurrent' } : {}),
        )
    // The first is for the caches, and for the page server's start.
    if (round > 0) rows.push(row)
    else await sleep(5000)
  }
  const parts = vmFaultsParts(rows, formatFirecrackerVersion(launch.binary.version))
  process.stdout.write(`${parts['vm machine']}\n\n${parts['vm table']}\n`)
  const environment = {
    ...thisMachine(),
    firecracker: launch.binary.version,
    rounds,
  }
  writeResults({ name: 'vm-faults', page: 'faults', rows: [environment, ...rows], parts }, options)
}

interface Loading {
  readonly memory: LoadOptions['memory']
  end?(): Promise<void>
}

async function makeSnapshot(store: LocalStore, launch: Launch, tag: 'base' | 'huge'): Promise<void> {
  const { start, count, stride = 1 } = patterns.sparse
  await using booted = await bootMicroGuest({ memoryMib, hugePages: tag === 'huge', ...launch })
  const { machine, console: guest } = booted
  await guest.write(written, seed)
  const { entry } = await captureSnapshot(await machine.pause(), { store, tags: [tag] })
  await store.saveWorkingSet(tag, 'set', {
    image: entry.id,
    pages: memoryMib * 256,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: pageSetFromPages(Array.from({ length: count }, (_, index) => start + index * stride)),
    written: emptyPageSet,
    groups: [],
    notes: {},
  })
}

type SetWish = Pick<RestoreOptions, 'workingSet' | 'prefetch'>

async function restore(store: LocalStore, launch: Launch, ref: string, wish: SetWish): Promise<Way> {
  const { machine } = await restoreMachine(store, ref, { ...launch, engine: 'paged', ...wish })
  return { machine, end: async () => void (await machine.stop()) }
}

/** How long the guest takes to read the pages, from the command to its answer, in ms. */
async function passOf(way: () => Promise<Way>, pages: TouchPattern): Promise<number> {
  const { machine, end } = await way()
  const guest = MicroConsole.attach(machine.paths)
  try {
    await guest.ping()
    const begin = performance.now()
    await readRight(guest, pages)
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
