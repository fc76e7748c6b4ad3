// `npm run bench:restore`: from the request to the first answer and to the last page of a working set, every engine against
// vanilla (launch, then load a flat memory file), interleaved in one run, on the native lab with the micro guest.
//   --memory LIST    MiB, default 512,2048            --set LIST     MiB of working set, default 8,24,100
//   --cache LIST     cold,warm (default both)         --engines LIST names as in the table; default all
//   --rounds N       default 20                       --quick        512 MiB, 24 MiB, 5 rounds
//   --rows FILE      raw rows as JSON lines           --report FILE  table and CDF plots as one HTML file
// A Markdown table goes to standard error.

import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { arch, cpus, release } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cdfPlots } from './bench-restore/plots.mjs'
import { summarise, table } from './bench-restore/summary.mjs'
import { build } from './setup.mjs'

build()
const {
  captureSnapshot,
  findFirecracker,
  flattenSnapshot,
  launchMachine,
  onProcessEnd,
  openLocalStore,
  pageSetFromPages,
  presentPages,
  residentBytes,
  restoreMachine,
} = await import('varve')
const { bootMicroGuest, MicroConsole, touchedPages } = await import('@varve/lab')
const { dropPageCache } = await import('../packages/core/dist/sys/fadvise.js')

const { values: options } = parseArgs({
  options: {
    memory: { type: 'string' },
    set: { type: 'string' },
    cache: { type: 'string' },
    engines: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean' },
    rows: { type: 'string' },
    report: { type: 'string' },
  },
})
const quick = options.quick === true
const numbers = (text) => text.split(',').map(Number)
const memories = numbers(options.memory ?? (quick ? '512' : '512,2048'))
const sets = numbers(options.set ?? (quick ? '24' : '8,24,100'))
const caches = (options.cache ?? 'cold,warm').split(',')
const rounds = Number(options.rounds ?? (quick ? 5 : 20))
const say = (text) => console.error(`bench: ${text}`)
const stopper = new AbortController()
process.once('SIGINT', () => stopper.abort())
process.once('SIGTERM', () => stopper.abort())
const { signal } = stopper

/** How each restores: `restoreMachine`'s options, or a function of its own. */
const contenders = {
  vanilla: null,
  file: { engine: 'file' },
  'file, set before': { engine: 'file', workingSet: 'set', prefetch: 'before' },
  'file, set beside': { engine: 'file', workingSet: 'set', prefetch: 'concurrent' },
  paged: { engine: 'paged' },
  'paged, set before': { engine: 'paged', workingSet: 'set', prefetch: 'before' },
  'paged, set beside': { engine: 'paged', workingSet: 'set', prefetch: 'concurrent' },
  mapped: { engine: 'mapped' },
  'mapped, set before': { engine: 'mapped', workingSet: 'set', prefetch: 'before' },
  'mapped, set beside': { engine: 'mapped', workingSet: 'set', prefetch: 'concurrent' },
  // The same from layers in which the set's pages come first, in its order.
  'paged, packed, set before': { engine: 'paged', workingSet: 'set', prefetch: 'before', packed: true },
  'mapped, packed, set before': { engine: 'mapped', workingSet: 'set', prefetch: 'before', packed: true },
  'mapped, packed, set beside': { engine: 'mapped', workingSet: 'set', prefetch: 'concurrent', packed: true },
}
const { engineNames } = await import('varve')
const names = (options.engines?.split(';') ?? Object.keys(contenders)).filter(
  (name) => contenders[name] === null || engineNames.includes(contenders[name].engine),
)

const directory = mkdtempSync('/var/tmp/varve-bench-')
const removeAll = () => rmSync(directory, { recursive: true, force: true })
onProcessEnd(removeAll)
const piece = Buffer.allocUnsafe(4 * 2 ** 20)
const binary = await findFirecracker({ signal })
const launch = { binary, runtimeDirectory: join(directory, 'run'), signal }
const environment = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  kernel: release(),
  arch: arch(),
  firecracker: binary.version,
  node: process.version,
  rounds,
}
const rows = []
try {
  say(JSON.stringify(environment))
  for (const memoryMib of memories) await measureGuest(memoryMib)
  console.error(`\n${table(rows)}`)
  if (options.report) writeFileSync(options.report, cdfPlots(rows, environment), { mode: 0o600 })
} catch (error) {
  if (!signal.aborted) throw error
  say('interrupted')
  process.exitCode = 130
} finally {
  removeAll()
  if (options.rows)
    writeFileSync(options.rows, [environment, ...rows].map((row) => `${JSON.stringify(row)}\n`).join(''))
}

/**
 * A set as measured ones are: runs of five pages all over the guest, each run four pages read and one written, in an order of
 * their own.
 */
function passOf(memoryMib, setMib) {
  const first = 1024
  const runs = Math.floor((setMib * 256) / 5)
  const stride = Math.floor((memoryMib * 256 - 2 * first) / runs)
  return [0, 1, 2, 3, 4].map((offset) => ({
    writes: offset === 4,
    pattern: { start: first + offset, count: runs, stride, order: 7 + offset },
  }))
}

async function measureGuest(memoryMib) {
  say(`${memoryMib} MiB: making the snapshots`)
  const store = await openLocalStore(join(directory, `store-${memoryMib}`), { create: true })
  const area = { start: 1024, count: memoryMib * 256 - 2048 }
  const { machine, console: guest } = await bootMicroGuest({ memoryMib, ...launch })
  await during([guest, machine], async () => {
    // Three quarters of the guest hold data, as four runs.
    const quarter = Math.floor(area.count / 4)
    for (let part = 0; part < 4; part++)
      await guest.fill({ start: area.start + part * quarter, count: Math.floor(quarter * 0.75) }, 1)
    let running = machine
    let parent
    for (const tag of ['one', 'two', 'three']) {
      const paused = await running.pause()
      await captureSnapshot(paused, { store, tags: [tag], parent })
      parent = tag
      running = await paused.resume()
      if (tag !== 'three')
        await guest.write({ start: area.start, count: 3000, stride: 40, order: 3 }, tag.length)
    }
  })
  for (const setMib of sets) {
    const pass = passOf(memoryMib, setMib)
    await recordSet(store, pass)
    const packed = await packedStore(store, `${memoryMib}-${setMib}`)
    const snapshot = await store.open('three')
    const packedSnapshot = await packed.open('three')
    await during([snapshot, packedSnapshot], () =>
      measureSet({ store, packed, snapshot, packedSnapshot, memoryMib, setMib, pass }),
    )
  }
}

/** A copy of the store with the layers packed by the set. */
async function packedStore(store, name) {
  const archive = join(directory, `${name}.tar`)
  await store.exportTo(['three'], archive)
  const packed = await openLocalStore(join(directory, `packed-${name}`), { create: true })
  await packed.importFrom(archive)
  rmSync(archive)
  const varve = fileURLToPath(new URL('../packages/cli/bin/varve.js', import.meta.url))
  const args = [varve, 'pack', 'three', '--working-set', 'set', '--store', packed.location]
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`varve pack: ${stderr}`)
  return packed
}

async function measureSet({ store, packed, snapshot, packedSnapshot, memoryMib, setMib, pass }) {
  const { path: flat } = await flattenSnapshot(snapshot)
  const files = [
    flat,
    ...[snapshot, packedSnapshot].flatMap((it) => [it.statePath, ...it.files.map(({ path }) => path)]),
  ]
  for (const cache of caches) {
    const mine = []
    // A round that does not count: it compiles, and shows what fails.
    for (let round = 0; round <= rounds; round++)
      for (let turn = 0; turn < names.length; turn++) {
        signal.throwIfAborted()
        const contender = names[(turn + round) % names.length]
        if (cache === 'cold') drop(files)
        else warm(files)
        const row = await measure(contenders[contender]?.packed ? packed : store, contender, {
          flat,
          statePath: snapshot.statePath,
          pass,
        })
        if (round > 0) mine.push({ memoryMib, setMib, cache, contender, round, ...row })
      }
    if (cache === 'cold')
      for (let round = 1; round <= 5; round++)
        mine.push({
          memoryMib,
          setMib,
          cache,
          contender: 'sequential read',
          round,
          lastMs: hundredths(sequentialRead(flat, setMib)),
        })
    rows.push(...mine)
    for (const line of summarise(mine))
      say(
        `${memoryMib} MiB, set ${setMib} MiB, ${cache}, ${line.contender}: first ${line.firstMs}, last ${line.lastMs}, overhead ${line.overheadMs} ms`,
      )
  }
}

/** Exactly what a pass touches, as the page server sees it. */
async function recordSet(store, pass) {
  const { machine, recording } = await restoreMachine(store, 'three', {
    ...launch,
    engine: 'paged',
    record: { recorders: ['faults'], maxMs: 120_000 },
  })
  const guest = MicroConsole.attach(machine.paths)
  const { workingSet } = await during([guest, recording, machine], async () => {
    await touch(guest, pass)
    return recording.stop()
  })
  const told = pageSetFromPages(pass.flatMap(({ pattern }) => touchedPages(pattern)))
  say(`recorded ${presentPages(workingSet).pages} pages for ${told.pages} told`)
  await store.saveWorkingSet('three', 'set', workingSet)
}

async function touch(guest, pass) {
  for (const { pattern, writes } of pass) await (writes ? guest.write(pattern, 5) : guest.read(pattern))
}

async function measure(store, name, { flat, statePath, pass }) {
  const start = performance.now()
  const { machine, report } =
    contenders[name] === null
      ? await vanilla(flat, statePath)
      : await restoreMachine(store, 'three', { ...launch, ...optionsOf(contenders[name]) })
  const restoredMs = performance.now() - start
  const guest = MicroConsole.attach(machine.paths)
  return during([guest, machine], async () => {
    await guest.ping()
    const firstMs = performance.now() - start
    await touch(guest, pass)
    const lastMs = performance.now() - start
    const again = performance.now()
    await touch(guest, pass)
    const warmPassMs = performance.now() - again
    return {
      restoredMs: hundredths(restoredMs),
      firstMs: hundredths(firstMs),
      lastMs: hundredths(lastMs),
      warmPassMs: hundredths(warmPassMs),
      rssMib: Math.round((residentBytes(machine.pid) ?? 0) / 2 ** 20),
      phasesMs: Object.fromEntries(Object.entries(report.phasesMs).map(([key, ms]) => [key, hundredths(ms)])),
    }
  })
}

function optionsOf({ packed: _packed, ...rest }) {
  return rest
}

/** Does work, then disposes of what it used, in order. */
async function during(resources, work) {
  try {
    return await work()
  } finally {
    for (const resource of resources) await resource[Symbol.asyncDispose]()
  }
}

/** What one does without Varve's engines: a flat memory file, mapped by Firecracker. */
async function vanilla(path, statePath) {
  const machine = await launchMachine(launch)
  try {
    const running = await machine.loadAndResume({ statePath, memory: { backend: 'File', path } })
    return { machine: running, report: { phasesMs: {} } }
  } catch (error) {
    await machine.stop()
    throw error
  }
}

function drop(files) {
  for (const path of files) withOpen(path, (fd) => dropPageCache(fd))
}

function warm(files) {
  for (const path of files)
    withOpen(path, (fd) => {
      for (let at = 0; ; ) {
        const read = readSync(fd, piece, 0, piece.length, at)
        if (read === 0) return
        at += read
      }
    })
}

/** As many bytes as the working set has, in one go, from where the file has data; the page cache dropped before. */
function sequentialRead(path, setMib) {
  drop([path])
  return withOpen(path, (fd) => {
    const start = performance.now()
    const end = Math.min(statSync(path).size, (4 + setMib) * 2 ** 20)
    for (let at = 4 * 2 ** 20; at < end; ) at += readSync(fd, piece, 0, Math.min(piece.length, end - at), at)
    return performance.now() - start
  })
}

function withOpen(path, work) {
  const fd = openSync(path, 'r')
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

function hundredths(ms) {
  return Math.round(ms * 100) / 100
}
