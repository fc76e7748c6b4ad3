// `npm run bench:restore`: from the request to the first answer and to the last page of a working set,
// every engine against vanilla (launch, then load a flat memory file), interleaved in one run, on the
// native lab with the micro guest.
//   --parts LIST     sets,clones,depth (default all)
//   --memory LIST    MiB, default 512,2048            --set LIST     MiB of working set, default 8,24,100
//   --cache LIST     cold,warm (default both)
//   --engines LIST   names as in the table, ';' between; default all
//   --clones LIST    at once, default 1,4,16          --depth LIST   layers, default 1,8,64
//   --rounds N       default 20                       --quick        512 MiB, 24 MiB, 5 rounds
//   --loop-disk KIB  snapshots on ext4 with this read-ahead, on a loop device without a page cache of its
//                    own; default /var/tmp
//   --rows FILE      raw rows as JSON lines           --report FILE  table and CDF plots as one HTML file
// A Markdown table goes to standard error. Before a cold restore, pages must be out of the page
// cache; otherwise the run ends.
import { closeSync, openSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { bringIntoCache, describeEnvironment, dropFromCache } from '@varve/lab'
import { seededRandom, shuffled } from '@varve/lab/testing'
import { findFirecracker, flattenSnapshot, type OpenSnapshot } from 'varve'
import { loadOptionsOf } from 'varve/testing'
import { compileC } from '../common/child.js'
import { hundredths } from '../common/numbers.js'
import { say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { statusOf, stopOnSignals } from '../common/stop.js'
import { contender, contenderNames, handlerInC, type Image, isPacked } from './contenders.js'
import { type Launch, makeChain, type Pass, packedStore, passOf, recordSet } from './images.js'
import { openLoopDisk } from './loop-disk.js'
import { type Measured, measure } from './measure.js'
import { cdfPlots } from './plots.js'
import type { CacheState, Place, RestoreRow } from './rows.js'
import { summarise, table } from './summary.js'

export async function benchRestore(argv: readonly string[]): Promise<number> {
  const options = optionsIn(argv)
  const { rounds } = options
  const signal = stopOnSignals()
  using scratch = openScratch('/var/tmp')
  const disk =
    options.loopDiskKib === undefined ? undefined : openLoopDisk(scratch.directory, options.loopDiskKib)
  const directory = disk?.path ?? scratch.directory
  const binary = await findFirecracker({ signal })
  const handler = scratch.path('uffd-handler')
  const names = contenderNames(options.engines)
  if (names.includes(handlerInC) && !compileC('uffd-handler.c', handler)) {
    say('NOT MEASURED: a handler in C, as there is no working C compiler (cc)')
    names.splice(names.indexOf(handlerInC), 1)
  }
  const bench = new RestoreBench({
    directory,
    handler,
    names,
    rounds,
    signal,
    launch: {
      binary,
      runtimeDirectory: `${directory}/run`,
      // Each time another one: Node warns where many listen to one.
      get signal() {
        return AbortSignal.any([signal])
      },
    },
  })
  const environment = { ...describeEnvironment(binary, { kind: 'native' }, directory), rounds }
  say(JSON.stringify(environment))
  const work = async () => {
    const [memoryMib = 512] = options.memories
    if (options.parts.includes('sets'))
      for (const memory of options.memories) await bench.sets(memory, options.sets, options.caches)
    if (options.parts.includes('clones')) await bench.clones(memoryMib, 24, options.clones)
    if (options.parts.includes('depth')) await bench.depths(memoryMib, 24, options.depths)
    process.stderr.write(`\n${table(bench.rows)}\n`)
    if (options.report) writeFileSync(options.report, cdfPlots(bench.rows, environment), { mode: 0o600 })
  }
  try {
    return await statusOf(signal, work)
  } finally {
    disk?.close()
    writeResults({ name: 'restore', rows: [environment, ...bench.rows] }, { rows: options.rows })
  }
}

function optionsIn(argv: readonly string[]) {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      parts: { type: 'string' },
      memory: { type: 'string' },
      clones: { type: 'string' },
      depth: { type: 'string' },
      set: { type: 'string' },
      cache: { type: 'string' },
      engines: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean' },
      'loop-disk': { type: 'string' },
      rows: { type: 'string' },
      report: { type: 'string' },
    },
  })
  const quick = values.quick === true
  const numbers = (text: string) => text.split(',').map(Number)
  return {
    parts: (values.parts ?? 'sets,clones,depth').split(','),
    memories: numbers(values.memory ?? (quick ? '512' : '512,2048')),
    sets: numbers(values.set ?? (quick ? '24' : '8,24,100')),
    caches: (values.cache ?? 'cold,warm').split(',') as CacheState[],
    clones: numbers(values.clones ?? (quick ? '1,4' : '1,4,16')),
    depths: numbers(values.depth ?? (quick ? '1,64' : '1,8,64')),
    engines: values.engines?.split(';'),
    rounds: Number(values.rounds ?? (quick ? 5 : 20)),
    loopDiskKib: values['loop-disk'] === undefined ? undefined : Number(values['loop-disk']),
    rows: values.rows,
    report: values.report,
  }
}

interface Setting {
  /** Of the snapshots. */
  readonly directory: string
  readonly handler: string
  readonly names: readonly string[]
  readonly rounds: number
  readonly signal: AbortSignal
  readonly launch: Launch
}

/** One run: its parts measure one after the other, and add to its rows. */
class RestoreBench {
  readonly rows: RestoreRow[] = []
  readonly #setting: Setting
  readonly #random = seededRandom(1)
  /** Where many restores run at once, or from many layers: each engine in its simplest form. */
  readonly #plainNames: readonly string[]

  constructor(setting: Setting) {
    this.#setting = setting
    this.#plainNames = setting.names.filter((name) => contender(name).usesSet !== true)
  }

  async sets(memoryMib: number, sets: readonly number[], caches: readonly CacheState[]): Promise<void> {
    const { directory, launch, names } = this.#setting
    const store = await makeChain(directory, { memoryMib, layers: 3 }, launch)
    for (const setMib of sets) {
      const pass = passOf(memoryMib, setMib)
      await recordSet(store, pass, launch)
      const packed = names.some(isPacked)
        ? await packedStore(store, directory, `${memoryMib}-${setMib}`)
        : store
      {
        await using snapshot = await store.open('it')
        await using packedSnapshot = await packed.open('it')
        const { path: flat } = await flattenSnapshot(snapshot)
        const image = { store, packed, flat, load: loadOptionsOf(snapshot) }
        const files = [flat, ...filesOf(snapshot), ...filesOf(packedSnapshot)]
        for (const cache of caches) await this.#set({ memoryMib, setMib }, cache, { image, files, pass })
      }
      if (packed !== store) rmSync(packed.location, { recursive: true })
    }
  }

  async #set(
    place: Place,
    cache: CacheState,
    { image, files, pass }: { readonly image: Image; readonly files: readonly string[]; readonly pass: Pass },
  ): Promise<void> {
    const { names, rounds, signal, launch, handler } = this.#setting
    const mine: RestoreRow[] = []
    // What the page cache holds in large folios costs less to map, and it does what was read in order.
    drop(files)
    // A round that does not count: it compiles, and shows what fails.
    for (let round = 0; round <= rounds; round++)
      for (const name of shuffled(names, this.#random)) {
        signal.throwIfAborted()
        if (cache === 'cold') drop(files)
        else bringIntoCache(files)
        const row = await measure(name, image, { launch, handler, pass })
        if (round > 0) mine.push({ ...place, cache, contender: name, round, ...row })
      }
    if (cache === 'cold')
      for (let round = 1; round <= 5; round++) {
        const lastMs = hundredths(sequentialRead(image.flat, place.setMib))
        mine.push({ ...place, cache, contender: 'sequential read', round, lastMs })
      }
    this.#keep(mine)
  }

  /**
   * N restores of one snapshot, asked for at once, everything in the page cache: until the last of
   * them has touched its last page.
   */
  async clones(memoryMib: number, setMib: number, counts: readonly number[]): Promise<void> {
    const { directory, launch, handler } = this.#setting
    const store = await makeChain(directory, { memoryMib, layers: 3 }, launch)
    await using snapshot = await store.open('it')
    const { path: flat } = await flattenSnapshot(snapshot)
    const image = { store, flat, load: loadOptionsOf(snapshot) }
    const pass = passOf(memoryMib, setMib)
    const files = [flat, ...filesOf(snapshot)]
    drop(files)
    await this.#interleaved(counts, async (clones, name) => {
      bringIntoCache(files)
      const measured = await measure(name, image, { launch, handler, pass, clones })
      return { memoryMib, setMib, cache: 'warm', clones, ...measured }
    })
  }

  /** One image as chains of different depths, everything in the page cache, the flat file made before. */
  async depths(memoryMib: number, setMib: number, depths: readonly number[]): Promise<void> {
    const { directory, launch, handler } = this.#setting
    const images = new Map<number, { readonly image: Image; readonly files: readonly string[] }>()
    const open: OpenSnapshot[] = []
    try {
      for (const layers of depths) {
        const store = await makeChain(directory, { memoryMib, layers }, launch)
        const snapshot = await store.open('it')
        open.push(snapshot)
        const { path: flat } = await flattenSnapshot(snapshot)
        const image = { store, flat, load: loadOptionsOf(snapshot) }
        images.set(layers, { image, files: [flat, ...filesOf(snapshot)] })
      }
      const pass = passOf(memoryMib, setMib)
      drop([...images.values()].flatMap(({ files }) => files))
      await this.#interleaved(depths, async (depth, name) => {
        const { image, files } = images.get(depth) as { image: Image; files: readonly string[] }
        bringIntoCache(files)
        const measured = await measure(name, image, { launch, handler, pass })
        return { memoryMib, setMib, cache: 'warm', depth, ...measured }
      })
    } finally {
      for (const snapshot of open) await snapshot[Symbol.asyncDispose]()
    }
  }

  /**
   * Each contender with each value once a round, in an order of its own: none always comes after the same
   * other. The first round does not count.
   */
  async #interleaved(
    values: readonly number[],
    work: (value: number, name: string) => Promise<Place & Measured & Pick<RestoreRow, 'cache'>>,
  ): Promise<void> {
    const { rounds, signal } = this.#setting
    const cells = values.flatMap((value) => this.#plainNames.map((name) => ({ value, name })))
    const mine: RestoreRow[] = []
    for (let round = 0; round <= rounds; round++)
      for (const { value, name } of shuffled(cells, this.#random)) {
        signal.throwIfAborted()
        const row = await work(value, name)
        if (round > 0) mine.push({ contender: name, round, ...row })
      }
    this.#keep(mine)
  }

  #keep(rows: readonly RestoreRow[]): void {
    this.rows.push(...rows)
    for (const { place, cache, contender: name, firstMs, lastMs, overheadMs } of summarise(rows))
      say(`${place}, ${cache}, ${name}: first ${firstMs}, last ${lastMs}, overhead ${overheadMs} ms`)
  }
}

const filesOf = (snapshot: OpenSnapshot): string[] => [
  snapshot.statePath,
  ...snapshot.files.map(({ path }) => path),
]

const drop = (files: readonly string[]) => dropFromCache([...new Set(files)])

/**
 * As many bytes as the working set has, in one go, from where the file has data; the page cache dropped
 * before. Gives milliseconds.
 */
function sequentialRead(path: string, setMib: number): number {
  drop([path])
  const piece = Buffer.allocUnsafe(4 * 2 ** 20)
  const fd = openSync(path, 'r')
  try {
    const begin = performance.now()
    const end = Math.min(statSync(path).size, (4 + setMib) * 2 ** 20)
    for (let at = 4 * 2 ** 20; at < end; ) at += readSync(fd, piece, 0, Math.min(piece.length, end - at), at)
    return performance.now() - begin
  } finally {
    closeSync(fd)
  }
}
