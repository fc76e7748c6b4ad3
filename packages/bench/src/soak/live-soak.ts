// `npm run soak:live`: one machine, served by a page server, is captured live again and again while
// its guest works, as `varve snapshot watch --keep` does it. Every so many captures the snapshot is restored
// by each engine and checked, and memory, descriptors, threads, processes and files are counted.
//   --captures N       default 500     --restore-every N   default 25
//   --warm-up N        captures before the first sample, default 100
//   --write            table and raw rows into docs/results       --out DIR, --rows FILE
//   --json             the result as JSON
// Exit status 1 if anything rises from the first fifth to the last. Node needs --expose-gc.
import { readdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { bootMicroGuest } from '@varve/lab'
import {
  captureSnapshot,
  engineNames,
  findFirecracker,
  openLocalStore,
  type Restored,
  type RunningMachine,
  restoreMachine,
  type TakeOptions,
  watchMachine,
} from 'varve'
import { machineText, thisMachine } from '../common/machine.js'
import { hundredths, tenths } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { compareFifths, type Fifths } from './flat.js'
import { gauge, type Sample } from './gauge.js'
import { checkGuest, checkImage } from './live-check.js'
import { blocks, LiveGuest, memoryMib, memoryPages, still, stillSeed } from './live-guest.js'
import { leftOf } from './live-left.js'
import type { SoakWorld } from './phases.js'

/** One after another, so that each follows each; a watch is begun again for every one. */
const freezes: readonly NonNullable<TakeOptions['freeze']>[] = ['copy', 'fork', 'auto']
const capturesOfOneWatch = 5
/** Snapshots that stay; as many layers more, until they are squashed. */
const keep = 5
/** At the same place of the rhythm in which layers are squashed. */
const sampleEvery = keep
const engines = [...engineNames, 'auto'] as const

interface Plan {
  readonly count: number
  /** Captures from one restore to the next. */
  readonly every: number
  readonly warmUp: number
}

interface CaptureRow {
  readonly capture: number
  readonly freeze: string
  readonly how: string
  readonly pages: number | null
  readonly standstillMs: number
  readonly turnMs: number
}

interface LiveSoak {
  readonly captures: readonly CaptureRow[]
  readonly samples: readonly Sample[]
  /** Images whose bytes were compared, and guests that checked their memory. */
  readonly images: number
  readonly guests: number
}

export async function liveSoak(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      captures: { type: 'string', default: '500' },
      'restore-every': { type: 'string', default: '25' },
      'warm-up': { type: 'string', default: '100' },
      json: { type: 'boolean', default: false },
      ...resultOptions,
    },
  })
  if (globalThis.gc === undefined) throw new Error('live-soak needs node --expose-gc')
  const plan: Plan = {
    count: Number(options.captures),
    every: Number(options['restore-every']),
    warmUp: Number(options['warm-up']),
  }
  using scratch = openScratch()
  const binary = await findFirecracker({ onProgress: say })
  const location = scratch.path('store')
  const store = await openLocalStore(location, { create: true })
  const world: SoakWorld = { binary, store, runtime: scratch.path('run') }
  await bootAndCapture(world)
  const start = performance.now()
  const { captures, samples, images, guests } = await capturing(world, location, plan)
  const seconds = tenths((performance.now() - start) / 1000)
  const gauges = compareFifths(samples)
  await store.gc()
  const { findings } = await store.fsck()
  const problems = [
    ...gauges.filter(({ flat }) => !flat).map(({ name, first, last }) => `${name}: ${first} to ${last}`),
    ...findings.map((finding) => `fsck: ${JSON.stringify(finding)}`),
  ]
  const table = tableOf(gauges)
  const facts = { ...plan, seconds, images, guests }
  if (options.json) console.log(JSON.stringify({ ...facts, gauges, problems }))
  else console.log(`${JSON.stringify(facts)}\n${table}\n${problems.join('\n') || 'all flat'}`)
  const verdict = problems.length === 0 ? 'Every gauge is flat.' : `Not flat: ${problems.join('; ')}.`
  writeResults(
    {
      name: 'live-soak',
      rows: [{ ...thisMachine(), ...facts }, ...captures, ...samples],
      parts: {
        facts: `${machineText()}. ${plan.count} captures in ${seconds} s; ${images} images compared byte by byte, ${guests} restored guests checked. ${verdict}`,
        captures: captureTable(captures),
        gauges: table,
      },
      newPage,
    },
    options,
  )
  return problems.length === 0 ? 0 : 1
}

async function bootAndCapture({ binary, runtime: runtimeDirectory, store }: SoakWorld): Promise<void> {
  const guest = await bootMicroGuest({ binary, runtimeDirectory, memoryMib })
  await using machine = guest.machine
  await using console = guest.console
  await console.fill({ start: blocks.start, count: blocks.count * blocks.pages }, stillSeed)
  await console.write(still, stillSeed)
  await captureSnapshot(machine, { store, tags: ['base'] })
}

async function capturing(
  world: SoakWorld,
  location: string,
  { count, every, warmUp }: Plan,
): Promise<LiveSoak> {
  const { binary, runtime: runtimeDirectory, store } = world
  await using restored = await restoreMachine(store, 'base', { engine: 'paged', binary, runtimeDirectory })
  const { machine, pageServer } = restored
  const server = pageServer?.identity.pid
  if (server === undefined) throw new Error('the machine has no page server')
  await using guest = new LiveGuest(machine)
  // All pages come now, so that the VMM has the same memory from the first capture on.
  await guest.console.read({ start: 512, count: memoryPages - 512 })
  guest.begin()
  const captures: CaptureRow[] = []
  const samples: Sample[] = []
  let [done, images, guests] = [0, 0, 0]
  while (done < count) {
    const freeze = freezes[Math.floor(done / capturesOfOneWatch) % freezes.length] ?? 'auto'
    await guest.fillNext(++done)
    for await (const turn of watchMachine(machine, { store, everyMs: 100, keep, mode: 'live', freeze })) {
      if (turn.captured === null || turn.error !== null) throw turn.error
      const { entry, standstillMs, way, lost } = turn.captured
      if (lost !== null) throw new Error(`capture ${done} lost ${lost.message}`)
      captures.push({
        capture: done,
        freeze,
        how: way.frozen?.how ?? '',
        pages: way.frozen?.pages ?? null,
        standstillMs: hundredths(standstillMs ?? Number.NaN),
        turnMs: tenths(turn.turnMs),
      })
      if (done % every === 0) {
        const pass = await checkImage(world, entry.id, guest.seeds)
        images++
        for (const engine of engines) {
          await using other = await restoreMachine(store, entry.id, { engine, binary, runtimeDirectory })
          await checkGuest(other, guest.seeds, pass, done)
          guests++
        }
      }
      // When all has been done a few times: flat files are kept, programs are loaded, malloc has its arenas.
      if (done % sampleEvery === 0 && done > warmUp)
        samples.push(await sampleOf(world, location, done, restored, server))
      if (done % 25 === 0) say(`${done} of ${count} captures`)
      if (done % capturesOfOneWatch === 0 || done >= count) break
      await guest.fillNext(++done)
    }
  }
  return { captures, samples, images, guests }
}

/** Objects of this process that are in use. Pages that malloc keeps count in `self.rssMib` only. */
function heapMib(): number {
  globalThis.gc?.()
  return hundredths(process.memoryUsage().heapUsed / 2 ** 20)
}

async function sampleOf(
  { runtime }: SoakWorld,
  store: string,
  done: number,
  { machine, pageServer }: Restored<RunningMachine>,
  server: number,
): Promise<Sample> {
  const { server: now } = (await pageServer?.processes()) ?? {}
  if (now?.pid !== server) throw new Error(`capture ${done}: page server ${now?.pid}, not ${server}`)
  return {
    done,
    ...leftOf(machine),
    heapMib: heapMib(),
    machineFiles: readdirSync(machine.paths.directory).length,
    ...gauge({ runtime, store }, { self: process.pid, vmm: machine.pid, server }),
  }
}

function tableOf(gauges: readonly Fifths[]): string {
  const rows = gauges.map(
    ({ name, first, last, most, allowed }) => `| ${name} | ${first} | ${last} | ${most} | ${allowed} |`,
  )
  return `| gauge | mean of the first fifth | of the last fifth | most | allowed rise |\n|---|---:|---:|---:|---:|\n${rows.join('\n')}`
}

function captureTable(captures: readonly CaptureRow[]): string {
  const fifth = Math.max(1, Math.floor(captures.length / 5))
  const mean = (rows: readonly CaptureRow[], of: (row: CaptureRow) => number) =>
    tenths(rows.reduce((sum, row) => sum + of(row), 0) / rows.length)
  const rows = freezes.map((freeze) => {
    const own = captures.filter((row) => row.freeze === freeze)
    const [first, last] = [captures.slice(0, fifth), captures.slice(-fifth)].map((part) =>
      mean(
        part.filter((row) => row.freeze === freeze),
        ({ standstillMs }) => standstillMs,
      ),
    )
    const forked = own.filter(({ how }) => how === 'fork').length
    return `| ${freeze} | ${own.length} | ${forked} | ${mean(own, ({ pages }) => pages ?? 0)} | ${first} | ${last} | ${mean(own, ({ turnMs }) => turnMs)} |`
  })
  return `| freeze | captures | of them by fork | pages, mean | stood still, mean of the first fifth, ms | of the last fifth, ms | until sealed, mean ms |\n|---|---:|---:|---:|---:|---:|---:|\n${rows.join('\n')}`
}

const newPage = (parts: Readonly<Record<string, string>>): string => `# A long life of live captures

\`npm run soak:live -- --write\` captures one machine live again and again, in the way of \`varve snapshot watch --keep ${keep}\`, while its guest
writes all the time. The machine has ${memoryMib} MiB and was restored by \`paged\`. \`freeze\` changes every ${capturesOfOneWatch} captures. Each 25th snapshot is compared byte by byte with
what the guest wrote, as of one instant, and is restored by each engine and by \`auto\`; the restored guest checks its pages.
Raw rows: [live-soak.jsonl](live-soak.jsonl).

${parts.facts}

${parts.captures}

\`self\` is the capturing process, \`vmm\` the Firecracker that is captured, \`server\` its page server. \`freezers\` and \`frozen\` count helper processes and children
of the VMM, \`liveFiles\` the files of captures in the machine's directory, \`machineFiles\` all files there; the others count entries of directories. V8 collects
garbage before each sample. \`heapMib\` is what it then has in use in the capturing process. Samples begin after the warm-up, 100 captures: until then the capturing process
grows by the code and the buffers that it uses for the first time.

${parts.gauges}
`
