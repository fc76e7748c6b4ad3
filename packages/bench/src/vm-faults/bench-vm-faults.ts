// `npm run bench:vm-faults`: what the page server costs a real VM. Page cache warm, rounds interleaved, every answer checked.
//   sparse  a micro guest reads one word in 6,144 pages, 13 apart. `vanilla`: the flat file, mapped by Firecracker; `example`: the handler
//           in C like Firecracker's example (scripts/bench-faults/uffd-handler.c); `paged`: a page server that runs already
//   eight   eight restores at once by `paged`, with the set of those pages brought alongside, and without: from the call until the guest
//           has answered once (`first`), and until it has read 1,024 of the set's pages (`all`); medians of the eight
//   --rounds N   default 10     --what LIST   of sparse, eight     --out FILE   default docs/results/vm-faults.jsonl
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { quantile } from './bench-restore/summary.mjs'
import { build, root } from './setup.mjs'

build()
const varve = await import('varve')
const { bootMicroGuest, MicroConsole } = await import('@varve/lab')

const { values: options } = parseArgs({
  options: { rounds: { type: 'string' }, what: { type: 'string' }, out: { type: 'string' } },
})
const rounds = Number(options.rounds ?? 10)
const whats = (options.what ?? 'sparse,eight').split(',')
const out = options.out ?? join(root, 'docs', 'results', 'vm-faults.jsonl')
const say = (text) => console.error(`bench: ${text}`)

const memoryMib = 384
const seed = 1
const pattern = { start: 1024, count: 6144, stride: 13 }
/** In the set of `pattern`. */
const firstOfSet = { ...pattern, count: 1024 }
const socketName = 'uffd.sock'

const directory = fs.mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-bench-'))
varve.onProcessEnd(() => fs.rmSync(directory, { recursive: true, force: true }))
const launch = { binary: await varve.findFirecracker({}), runtimeDirectory: join(directory, 'run') }
const handler = join(directory, 'uffd-handler')

try {
  const source = fileURLToPath(new URL('bench-faults/uffd-handler.c', import.meta.url))
  const { status } = spawnSync('cc', ['-O2', '-o', handler, source], { stdio: 'inherit' })
  if (status !== 0) throw new Error(`cc: status ${status}`)
  // A server lives as long as the run.
  process.env.VARVE_PAGE_SERVER_LINGER_MS = '60000'
  const store = await varve.openLocalStore(join(directory, 'store'), { create: true })
  await makeSnapshot(store)
  const snapshot = await store.open('base')
  const flat = (await varve.flattenSnapshot(snapshot)).path
  const ways = {
    vanilla: () => load(snapshot, () => ({ backend: 'File', path: flat })),
    example: () => load(snapshot, (machine) => example(machine, flat)),
    paged: () => restore(store, {}),
  }
  const rows = []
  for (let round = 0; round <= rounds; round++) {
    say(`round ${round} of ${rounds}`)
    const row = { round, load: loadavg()[0] }
    if (whats.includes('sparse'))
      for (const name of turned(Object.keys(ways), round)) row[`${name}Ms`] = await passOf(ways[name])
    if (whats.includes('eight'))
      for (const set of turned(['without', 'with'], round))
        row[set] = await eight(store, set === 'with' ? { workingSet: 'set', prefetch: 'concurrent' } : {})
    // The first is for the caches, and for the page server's start.
    if (round > 0) rows.push(row)
    else await new Promise((resolve) => setTimeout(resolve, 5000))
  }
  report(rows)
} finally {
  fs.rmSync(directory, { recursive: true, force: true })
}

function turned(names, round) {
  return names.map((_, index) => names[(index + round) % names.length])
}

async function makeSnapshot(store) {
  const { machine, console: guest } = await bootMicroGuest({ memoryMib, ...launch })
  try {
    await guest.write({ ...pattern, count: pattern.count * pattern.stride, stride: 1 }, seed)
    await varve.captureSnapshot(await machine.pause(), { store, tags: ['base'] })
  } finally {
    await guest[Symbol.asyncDispose]()
    await machine[Symbol.asyncDispose]()
  }
  const { entry } = await store.open('base')
  await store.saveWorkingSet('base', 'set', {
    image: entry.id,
    pages: memoryMib * 256,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: varve.pageSetFromPages(
      Array.from({ length: pattern.count }, (_, index) => pattern.start + index * pattern.stride),
    ),
    written: varve.emptyPageSet,
    groups: [],
    notes: {},
  })
}

/** A VM, loaded and running, and what ends it. */
async function load(snapshot, memoryOf) {
  const launched = await varve.launchMachine(launch)
  const { end = async () => {}, ...memory } = await memoryOf(launched)
  const machine = await launched.loadAndResume({ ...varve.loadOptionsOf(snapshot), memory })
  return {
    machine,
    end: async () => {
      await machine.stop()
      await end()
    },
  }
}

async function example(launched, flat) {
  const path = launched.files.local(socketName).hostPath
  const child = spawn(handler, [path, flat, 'example'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  const end = async () => {
    child.kill('SIGKILL')
    await ended
  }
  return { backend: 'Uffd', socketName, end }
}

async function restore(store, how) {
  const { machine } = await varve.restoreMachine(store, 'base', { ...launch, engine: 'paged', ...how })
  return { machine, end: () => machine.stop() }
}

/** How long the guest takes to read the pages, from the command to its answer, in ms. */
async function passOf(way) {
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

async function readRight(guest, pages) {
  if ((await guest.verify(pages, seed, { words: 1 })) !== pages.count) throw new Error('pages are missing')
}

async function eight(store, how) {
  const ends = []
  try {
    const times = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const begin = performance.now()
        const { machine, end } = await restore(store, how)
        ends.push(end)
        const guest = MicroConsole.attach(machine.paths)
        ends.push(() => guest[Symbol.asyncDispose]())
        await guest.ping()
        const first = performance.now() - begin
        await readRight(guest, firstOfSet)
        return { first, all: performance.now() - begin }
      }),
    )
    return Object.fromEntries(['first', 'all'].map((name) => [name, median(times.map((it) => it[name]))]))
  } finally {
    await Promise.all(ends.map((end) => end()))
  }
}

function median(values) {
  return quantile(values, 0.5)
}

function report(rows) {
  const environment = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    kernel: release(),
    node: process.version,
    firecracker: launch.binary.version,
    rounds,
  }
  fs.writeFileSync(out, [environment, ...rows].map((row) => `${JSON.stringify(row)}\n`).join(''))
  const show = (name, of) => {
    const values = rows.map(of)
    const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(values, share).toFixed(2))
    console.log(`| ${name} | ${middle} | ${low} to ${high} |`)
  }
  console.log(
    `load ${median(rows.map(({ load }) => load)).toFixed(1)}\n\n| what | median | quartiles |\n|---|---:|---:|`,
  )
  if (whats.includes('sparse')) {
    for (const name of ['vanilla', 'example', 'paged']) show(`${name}, ms`, (row) => row[`${name}Ms`])
    show(
      'beyond vanilla, `example` over `paged`',
      ({ vanillaMs, exampleMs, pagedMs }) => (exampleMs - vanillaMs) / (pagedMs - vanillaMs),
    )
  }
  if (whats.includes('eight'))
    for (const what of ['first', 'all']) {
      for (const set of ['without', 'with']) show(`${what}, ${set} set, ms`, (row) => row[set][what])
      show(`${what}, with over without`, (row) => row.with[what] / row.without[what])
    }
}
