// `npm run bench:restore`: from the request to the first answer and to the last page of a working set, every engine against
// vanilla (launch, then load a flat memory file), interleaved in one run, on the native lab with the micro guest.
//   --parts LIST     sets,clones,depth (default all)
//   --memory LIST    MiB, default 512,2048            --set LIST     MiB of working set, default 8,24,100
//   --cache LIST     cold,warm (default both)         --engines LIST names as in the table, ';' between; default all
//   --clones LIST    at once, default 1,4,16          --depth LIST   layers, default 1,8,64
//   --rounds N       default 20                       --quick        512 MiB, 24 MiB, 5 rounds
//   --loop-disk KIB  snapshots on ext4 with this read-ahead, on a loop device without a page cache of its own; default /var/tmp
//   --rows FILE      raw rows as JSON lines           --report FILE  table and CDF plots as one HTML file
// A Markdown table goes to standard error. Before a cold restore, pages must be out of the page cache;
// otherwise the run ends.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openLoopDisk } from './bench-restore/loop-disk.mjs'
import { cdfPlots } from './bench-restore/plots.mjs'
import { summarise, table } from './bench-restore/summary.mjs'
import { build } from './setup.mjs'

build()
const {
  captureSnapshot,
  findFirecracker,
  flattenSnapshot,
  launchMachine,
  loadOptionsOf,
  onProcessEnd,
  openLocalStore,
  pageSetFromPages,
  presentPages,
  residentBytes,
  restoreMachine,
} = await import('varve')
const {
  bootMicroGuest,
  bringIntoCache,
  describeEnvironment,
  deviceReadBytes,
  dropFromCache,
  MicroConsole,
  touchedPages,
} = await import('@varve/lab')
const { seededRandom, shuffled } = await import('@varve/lab/testing')

const { values: options } = parseArgs({
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
const quick = options.quick === true
const numbers = (text) => text.split(',').map(Number)
const parts = (options.parts ?? 'sets,clones,depth').split(',')
const cloneCounts = numbers(options.clones ?? (quick ? '1,4' : '1,4,16'))
const depths = numbers(options.depth ?? (quick ? '1,64' : '1,8,64'))
const memories = numbers(options.memory ?? (quick ? '512' : '512,2048'))
const sets = numbers(options.set ?? (quick ? '24' : '8,24,100'))
const caches = (options.cache ?? 'cold,warm').split(',')
const rounds = Number(options.rounds ?? (quick ? 5 : 20))
const say = (text) => console.error(`bench: ${text}`)
const stopper = new AbortController()
process.once('SIGINT', () => stopper.abort())
process.once('SIGTERM', () => stopper.abort())
const { signal } = stopper

/** Not an engine of ours: Firecracker and, for Uffd, a handler in plain C. */
const reference = (start) => ({ engine: null, start })
/** How each restores: `restoreMachine`'s options, or a function of its own. */
const contenders = {
  vanilla: reference(vanilla),
  // Where the VMM waits for the request.
  'vanilla, launched ahead': { ...reference(vanilla), ahead: true },
  'vanilla Uffd, handler in C': reference(vanillaUffd),
  auto: { engine: 'auto' },
  'auto, set': { engine: 'auto', workingSet: 'set' },
  file: { engine: 'file' },
  'file, launched ahead': { engine: 'file', ahead: true },
  'file, set before': { engine: 'file', workingSet: 'set', prefetch: 'before' },
  'file, set beside': { engine: 'file', workingSet: 'set', prefetch: 'concurrent' },
  paged: { engine: 'paged' },
  'paged, set before': { engine: 'paged', workingSet: 'set', prefetch: 'before' },
  'paged, set beside': { engine: 'paged', workingSet: 'set', prefetch: 'concurrent' },
  'paged, on one CPU': { engine: 'paged', faultCpu: cpus().length - 1 },
  mapped: { engine: 'mapped' },
  'mapped, launched ahead': { engine: 'mapped', ahead: true },
  'mapped, set before': { engine: 'mapped', workingSet: 'set', prefetch: 'before' },
  'mapped, set beside': { engine: 'mapped', workingSet: 'set', prefetch: 'concurrent' },
  // The same from layers in which the set's pages come first, in its order.
  'paged, packed, set before': { engine: 'paged', workingSet: 'set', prefetch: 'before', packed: true },
  'mapped, packed, set before': { engine: 'mapped', workingSet: 'set', prefetch: 'before', packed: true },
  'mapped, packed, set beside': { engine: 'mapped', workingSet: 'set', prefetch: 'concurrent', packed: true },
}
const { engineChoices } = await import('varve')
const names = (options.engines?.split(';') ?? Object.keys(contenders)).filter(
  (name) => contenders[name].engine === null || engineChoices.includes(contenders[name].engine),
)
/** Where many restores run at once, or from many layers: each engine in its simplest form. */
const plainNames = names.filter((name) => contenders[name].workingSet === undefined)

const base = mkdtempSync('/var/tmp/varve-bench-')
const disk = options['loop-disk'] === undefined ? undefined : openLoopDisk(base, Number(options['loop-disk']))
const directory = disk?.path ?? base
const removeAll = () => {
  disk?.close()
  rmSync(base, { recursive: true, force: true })
}
onProcessEnd(removeAll)
const handler = join(directory, 'uffd-handler')
const piece = Buffer.allocUnsafe(4 * 2 ** 20)
const binary = await findFirecracker({ signal })
const launch = {
  binary,
  runtimeDirectory: join(directory, 'run'),
  // Each time another one: Node warns where many listen to one.
  get signal() {
    return AbortSignal.any([signal])
  },
}
const environment = { ...describeEnvironment(binary, { kind: 'native' }, directory), rounds }
const random = seededRandom(1)
const rows = []
try {
  say(JSON.stringify(environment))
  compileHandler()
  if (parts.includes('sets')) for (const memoryMib of memories) await measureGuest(memoryMib)
  if (parts.includes('clones')) await measureClones(memories[0], 24)
  if (parts.includes('depth')) await measureDepths(memories[0], 24)
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

/** A guest with data in three quarters of its memory, as a chain of `layers`, each but the first with 3,000 pages of its own at most. */
async function makeChain(memoryMib, layers) {
  say(`${memoryMib} MiB, ${layers} layers: making the snapshots`)
  const store = await openLocalStore(join(directory, `store-${memoryMib}-${layers}`), { create: true })
  const area = { start: 1024, count: memoryMib * 256 - 2048 }
  const { machine, console: guest } = await bootMicroGuest({ memoryMib, ...launch })
  await during([guest, machine], async () => {
    const quarter = Math.floor(area.count / 4)
    for (let part = 0; part < 4; part++)
      // A word a page makes it data; filling them, word by word and emulated, takes a minute.
      await guest.write({ start: area.start + part * quarter, count: Math.floor(quarter * 0.75) }, 1)
    let running = machine
    for (let layer = 1; layer <= layers; layer++) {
      if (layer > 1)
        await guest.write(
          {
            start: area.start,
            count: Math.floor(Math.min(memoryMib * 5, 6000 / (layers - 1))),
            stride: 40,
            order: layer,
          },
          layer,
        )
      const paused = await running.pause()
      await captureSnapshot(paused, { store, tags: ['it'], ...(layer > 1 ? { parent: 'it' } : {}) })
      running = await paused.resume()
    }
  })
  return store
}

async function measureGuest(memoryMib) {
  const store = await makeChain(memoryMib, 3)
  for (const setMib of sets) {
    const pass = passOf(memoryMib, setMib)
    await recordSet(store, pass)
    const packed = names.some((name) => contenders[name].packed)
      ? await packedStore(store, `${memoryMib}-${setMib}`)
      : store
    const snapshot = await store.open('it')
    const packedSnapshot = await packed.open('it')
    await during([snapshot, packedSnapshot], () =>
      measureSet({ store, packed, snapshot, packedSnapshot, memoryMib, setMib, pass }),
    )
    if (packed !== store) rmSync(packed.location, { recursive: true })
  }
}

/** N restores of one snapshot, asked for at once, everything in the page cache: until the last of them has touched its last page. */
async function measureClones(memoryMib, setMib) {
  const store = await makeChain(memoryMib, 3)
  const snapshot = await store.open('it')
  await during([snapshot], async () => {
    const { path: flat } = await flattenSnapshot(snapshot)
    const context = { store, flat, load: loadOptionsOf(snapshot), pass: passOf(memoryMib, setMib) }
    const files = [flat, snapshot.statePath, ...snapshot.files.map(({ path }) => path)]
    drop(files)
    await interleaved(cloneCounts, async (clones, contender) => {
      warm(files)
      return { memoryMib, setMib, cache: 'warm', clones, ...(await measure(contender, context, clones)) }
    })
  })
}

/** One image as chains of different depths, everything in the page cache, the flat file made before. */
async function measureDepths(memoryMib, setMib) {
  const contexts = new Map()
  const snapshots = []
  for (const depth of depths) {
    const store = await makeChain(memoryMib, depth)
    const snapshot = await store.open('it')
    snapshots.push(snapshot)
    const { path: flat } = await flattenSnapshot(snapshot)
    contexts.set(depth, {
      store,
      flat,
      load: loadOptionsOf(snapshot),
      pass: passOf(memoryMib, setMib),
      files: [flat, snapshot.statePath, ...snapshot.files.map(({ path }) => path)],
    })
  }
  drop([...contexts.values()].flatMap(({ files }) => files))
  await during(snapshots, () =>
    interleaved(depths, async (depth, contender) => {
      warm(contexts.get(depth).files)
      return { memoryMib, setMib, cache: 'warm', depth, ...(await measure(contender, contexts.get(depth))) }
    }),
  )
}

/** Each contender with each value once a round, in an order of its own: none always comes after the same other. The first round does not count. */
async function interleaved(values, work) {
  const cells = values.flatMap((value) => plainNames.map((contender) => ({ value, contender })))
  const mine = []
  for (let round = 0; round <= rounds; round++)
    for (const { value, contender } of shuffled(cells, random)) {
      signal.throwIfAborted()
      const row = await work(value, contender)
      if (round > 0) mine.push({ contender, round, ...row })
    }
  rows.push(...mine)
  for (const line of summarise(mine))
    say(
      `${line.place}, ${line.contender}: first ${line.firstMs}, last ${line.lastMs}, overhead ${line.overheadMs} ms`,
    )
}

/** A copy of the store with the layers packed by the set. */
async function packedStore(store, name) {
  const archive = join(directory, `${name}.tar`)
  await store.exportTo(['it'], archive)
  const packed = await openLocalStore(join(directory, `packed-${name}`), { create: true })
  await packed.importFrom(archive)
  rmSync(archive)
  const varve = fileURLToPath(new URL('../packages/cli/bin/varve.js', import.meta.url))
  const args = [varve, 'pack', 'it', '--working-set', 'set', '--store', packed.location]
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
    // What the page cache holds in large folios costs less to map, and it does what was read in order.
    drop(files)
    // A round that does not count: it compiles, and shows what fails.
    for (let round = 0; round <= rounds; round++)
      for (const contender of shuffled(names, random)) {
        signal.throwIfAborted()
        if (cache === 'cold') drop(files)
        else warm(files)
        const row = await measure(contender, {
          store: contenders[contender].packed ? packed : store,
          flat,
          load: loadOptionsOf(snapshot),
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
        `${line.place}, ${cache}, ${line.contender}: first ${line.firstMs}, last ${line.lastMs}, overhead ${line.overheadMs} ms`,
      )
  }
}

/** Exactly what a pass touches, as the page server sees it. */
async function recordSet(store, pass) {
  const { machine, recording } = await restoreMachine(store, 'it', {
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
  await store.saveWorkingSet('it', 'set', workingSet)
}

async function touch(guest, pass) {
  // A scattered pass over a disk that reads little around each fault takes its time on a busy machine.
  const timeoutMs = 120_000
  for (const { pattern, writes } of pass)
    await (writes ? guest.write(pattern, 5, { timeoutMs }) : guest.read(pattern, { timeoutMs }))
}

/** Restores, touches everything, and the same once more, warm. With `clones` so many at once: times are those of the last. */
async function measure(name, context, clones = 1) {
  const { ahead } = contenders[name]
  const waiting = await Promise.all(
    Array.from({ length: clones }, () => (ahead ? launchMachine(launch) : undefined)),
  )
  const read = () => deviceReadBytes(context.flat) ?? 0
  const readBefore = read()
  const [load] = loadavg()
  const start = performance.now()
  const since = () => performance.now() - start
  const all = await Promise.all(
    waiting.map(async (launched) => {
      const { machine, report, helper } = await restore(name, context, launched)
      const restoredMs = since()
      const guest = MicroConsole.attach(machine.paths)
      await guest.ping()
      const firstMs = since()
      await touch(guest, context.pass)
      return { machine, report, helper, guest, restoredMs, firstMs, lastMs: since() }
    }),
  )
  const readMib = Math.round(((read() - readBefore) / 2 ** 20) * 10) / 10
  return during(
    all.flatMap(({ guest, machine, helper }) => [guest, machine, ...(helper ? [helper] : [])]),
    async () => {
      const again = performance.now()
      await Promise.all(all.map(({ guest }) => touch(guest, context.pass)))
      const most = (field) => Math.max(...all.map((it) => it[field]))
      const [{ report, machine }] = all
      return {
        restoredMs: hundredths(most('restoredMs')),
        firstMs: hundredths(most('firstMs')),
        lastMs: hundredths(most('lastMs')),
        warmPassMs: hundredths(performance.now() - again),
        readMib,
        load: hundredths(load),
        rssMib: Math.round((residentBytes(machine.pid) ?? 0) / 2 ** 20),
        ...(report.reason ? { reason: report.reason } : {}),
        phasesMs: Object.fromEntries(
          Object.entries(report.phasesMs).map(([key, ms]) => [key, hundredths(ms)]),
        ),
      }
    },
  )
}

function restore(name, context, launched) {
  const { engine, start, packed: _packed, ahead: _ahead, ...rest } = contenders[name]
  return engine === null
    ? start(context, launched)
    : restoreMachine(context.store, 'it', {
        ...launch,
        engine,
        ...rest,
        ...(launched && { machine: launched }),
      })
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
async function vanilla({ flat, load }, launched) {
  const machine = launched ?? (await launchMachine(launch))
  try {
    const running = await machine.loadAndResume({
      ...load,
      memory: { backend: 'File', path: flat },
    })
    return { machine: running, report: { phasesMs: {} } }
  } catch (error) {
    await machine.stop()
    throw error
  }
}

/** The same through userfaultfd, answered by a loop like that of Firecracker's example handler. */
async function vanillaUffd({ flat, load }) {
  const machine = await launchMachine(launch)
  const socket = machine.files.local('uffd.sock').hostPath
  const child = spawn(handler, [socket, flat, 'example'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const helper = {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
  try {
    await once(child.stdout, 'data')
    const memory = { backend: 'Uffd', socketName: 'uffd.sock' }
    return {
      machine: await machine.loadAndResume({ ...load, memory }),
      report: { phasesMs: {} },
      helper,
    }
  } catch (error) {
    await machine.stop()
    await helper[Symbol.asyncDispose]()
    throw error
  }
}

function compileHandler() {
  if (!names.includes('vanilla Uffd, handler in C')) return
  const source = fileURLToPath(new URL('bench-faults/uffd-handler.c', import.meta.url))
  if (spawnSync('cc', ['-O2', '-o', handler, source], { stdio: 'inherit' }).status === 0) return
  say('NOT MEASURED: a handler in C, as there is no working C compiler (cc)')
  for (const list of [names, plainNames]) list.splice(list.indexOf('vanilla Uffd, handler in C'), 1)
}

function drop(files) {
  dropFromCache([...new Set(files)])
}

function warm(files) {
  bringIntoCache(files)
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
