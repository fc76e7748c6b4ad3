// `npm run bench:record`: what recording costs. A VM that is recorded against one that is not, the same work in the same run,
// every contender once a round; and one mincore pass over 1 GiB against the same loop in C, where there is a compiler.
//   --quick       3 rounds in place of 9
//   --rounds N
//   --out DIR     record.md and the raw rows, record.jsonl (default docs/results)
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { arch, cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build, root } from './setup.mjs'

build()
const {
  captureSnapshot,
  dropPageCache,
  findFirecracker,
  hardwareVirtualisation,
  onProcessEnd,
  openLocalStore,
  pageSetFromBytes,
  recordTogether,
  residentPages,
  restoreMachine,
} = await import('varve')
const { bootMicroGuest, bringIntoCache, dropFromCache, MicroConsole } = await import('@varve/lab')
const { adviseRandom } = await import('varve/testing')

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean' }, rounds: { type: 'string' }, out: { type: 'string' } },
})
const rounds = Number(options.rounds ?? (options.quick ? 3 : 9))
const out = options.out ?? join(root, 'docs', 'results')
const pageBytes = 4096
const say = (text) => console.error(`bench: ${text}`)

const memoryMib = 256
/** 192 MiB of data in the image; the work reads 64 MiB of it and writes 16, in random order. */
const filled = { start: 1024, count: 49_152 }
const reads = { start: 1024, count: 16_384, stride: 3, order: 5 }
const writes = { start: 1025, count: 4096, stride: 12, order: 6 }

/** The first of each engine and cache is the one that is not recorded. */
const contenders = [
  ...['dropped', 'warm'].flatMap((cache) =>
    [[], ['mincore'], ['pagemap'], ['diff'], ['mincore', 'diff'], ['pagemap', 'diff']].map((recorders) => ({
      engine: 'file',
      cache,
      recorders,
    })),
  ),
  ...[[], ['mincore'], ['faults'], ['diff']].map((recorders) => ({
    engine: 'paged',
    cache: 'dropped',
    recorders,
  })),
]
  // mincore drops the cache itself.
  .filter(({ cache, recorders }) => cache === 'dropped' || !recorders.includes('mincore'))
  .map((contender) => ({ ...contender, name: contender.recorders.join(' + ') || 'not recorded' }))

// On disk: a tmpfs never drops a page.
const directory = fs.mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-bench-'))
const removeAll = () => fs.rmSync(directory, { recursive: true, force: true })
onProcessEnd(removeAll)
const rows = []
try {
  rows.push(...measurePasses())
  const context = {
    store: await openLocalStore(join(directory, 'store'), { create: true }),
    launch: { binary: await findFirecracker(), runtimeDirectory: join(directory, 'run') },
  }
  await makeSnapshot(context)
  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(i + round) % contenders.length]
      const row = await runOnce(context, contender)
      if (round > 0) rows.push({ what: 'vm', ...contender, round, ...row })
    }
  }
} finally {
  removeAll()
}
fs.mkdirSync(out, { recursive: true })
fs.writeFileSync(join(out, 'record.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
fs.writeFileSync(join(out, 'record.md'), document())
say(`${rows.length} rows in ${out}`)

async function makeSnapshot({ store, launch }) {
  const { machine, console: guest } = await bootMicroGuest({ memoryMib, ...launch })
  try {
    await guest.write(filled, 1)
    await captureSnapshot(await machine.pause(), { store, tags: ['base'], base: 'Full' })
  } finally {
    await guest[Symbol.asyncDispose]()
    await machine.stop()
  }
}

async function runOnce({ store, launch }, { engine, cache, recorders }) {
  let recording
  let startMs = 0
  const { machine } = await restoreMachine(store, 'base', {
    ...launch,
    engine,
    beforeLoad: async (sources) => {
      for (const { path } of sources.files) prepareCache(path, cache)
      if (recorders.length === 0) return
      const from = performance.now()
      recording = await recordTogether(sources, recorders)
      startMs = performance.now() - from
    },
  })
  const guest = MicroConsole.attach(machine.paths)
  try {
    await guest.ping()
    const from = performance.now()
    await guest.read(reads)
    await guest.write(writes, 2)
    const workMs = performance.now() - from
    const recorded = (await recording?.stop()) ?? []
    const stopMs = recording === undefined ? 0 : performance.now() - from - workMs
    return {
      startMs: round3(startMs),
      workMs: round3(workMs),
      stopMs: round3(stopMs),
      scans: Math.max(0, ...recorded.map(({ scans }) => scans)),
      present: recorded.find(({ present }) => present !== null)?.present.pages ?? null,
      written: recorded.find(({ written }) => written !== null)?.written.pages ?? null,
    }
  } finally {
    await recording?.[Symbol.asyncDispose]()
    await guest[Symbol.asyncDispose]()
    await machine.stop()
  }
}

/** Throws if pages stay that should be dropped, so that no warm measurement counts as cold. */
function prepareCache(path, cache) {
  if (cache === 'dropped') dropFromCache([path])
  else bringIntoCache([path])
}

/** A sparse file of 1 GiB, of which known pages are in the page cache; JavaScript and C take turns. */
function measurePasses() {
  say('passes of mincore')
  const reference = join(directory, 'mincore-pass')
  const source = fileURLToPath(new URL('mincore-pass.c', import.meta.url))
  const compiled = spawnSync('cc', ['-O2', '-o', reference, source], { stdio: 'inherit' }).status === 0
  if (!compiled) say('NOT MEASURED against C: there is no working C compiler (cc)')
  const path = join(directory, 'one-gib')
  const sizeBytes = 2 ** 30
  const fd = fs.openSync(path, 'w+')
  const found = []
  try {
    fs.ftruncateSync(fd, sizeBytes)
    adviseRandom(fd)
    const buffer = Buffer.alloc(pageBytes)
    const touch = (wanted) => {
      dropPageCache(fd)
      for (let page = 0; page < sizeBytes / pageBytes; page++)
        if (wanted(page)) fs.readSync(fd, buffer, 0, pageBytes, page * pageBytes)
    }
    // Short turns and many of them: the machine may not be equally quiet all the time.
    const passes = 3
    const turns = 3 * rounds
    for (const [pages, wanted] of [
      ['none', () => false],
      ['all', () => true],
      ['every second', (page) => page % 2 === 0],
      ['runs of 16, a quarter of all', (page) => page % 64 < 16],
    ]) {
      touch(wanted)
      for (let round = 0; round <= turns; ) {
        const before = describeSet(fd)
        const ms = { js: [], c: [] }
        let inC = before
        for (const who of round % 2 === 0 ? ['js', 'c'] : ['c', 'js']) {
          if (who === 'c' && compiled) {
            const lines = run(reference, [path, String(passes)])
              .trim()
              .split('\n')
            inC = lines.pop()
            ms.c.push(...lines.map((ns) => round3(Number(ns) / 1e6)))
          }
          for (let pass = 0; who === 'js' && pass < passes; pass++) {
            const from = performance.now()
            pageSetFromBytes(residentPages(fd))
            ms.js.push(round3(performance.now() - from))
          }
        }
        // Under memory pressure the kernel drops pages in between: the turn then compares nothing.
        if (describeSet(fd) !== before) {
          touch(wanted)
          continue
        }
        if (inC !== before) throw new Error(`C found ${inC} (pages, runs), JavaScript ${before}`)
        if (round > 0) found.push({ what: 'pass', pages, found: before, round, jsMs: ms.js, cMs: ms.c })
        round++
      }
    }
  } finally {
    fs.closeSync(fd)
    fs.rmSync(path)
  }
  return found
}

/** Pages and runs, as the reference prints them. */
function describeSet(fd) {
  const set = pageSetFromBytes(residentPages(fd))
  return `${set.pages} ${set.starts.length}`
}

function run(file, args) {
  const { status, stdout, error } = spawnSync(file, args, { encoding: 'utf8' })
  if (status !== 0) throw error ?? new Error(`${file} ended with ${status}`)
  return stdout
}

function document() {
  const rate = (row) => row.jsMs / row.cMs
  const passes = passRows()
  const worst = Math.max(...passes.map(rate))
  return `# What recording costs

\`npm run bench:record\` (a VM that is recorded against one that is not, the same work, in one run; ${rounds} rounds after one that warms
up, every contender once a round, each round beginning with another one). Raw rows: [record.jsonl](record.jsonl).
Machine: ${cpus().length} CPUs, ${cpus()[0].model}, ${arch()}, Linux ${release()}, Node ${process.versions.node}, ${hardwareVirtualisation() ? 'hardware' : 'software'} KVM;
load average ${loadavg()[2].toFixed(1)}, this bench included.

## A recorded VM

Restored from a ${memoryMib} MiB snapshot; the guest reads ${reads.count.toLocaleString('en')} pages and writes ${writes.count.toLocaleString('en')} others, in random order. *Work* is the time of
that, *slowdown* its median against the one that is not recorded. *Start* comes before the load, *stop* after the work (with
\`diff\` the guest stands still for most of it). Medians [least–most] in milliseconds.

${vmTable()}

\`diff\` does nothing while the guest works: what its lines show as slowdown is the noise of this machine.

## A pass of mincore over 1 GiB

From an open file to a set of pages: map, mincore(2), runs, unmap; ${passes[0].n} passes each, JavaScript and C (\`scripts/mincore-pass.c\`,
\`cc -O2\`) in turns. ${Number.isFinite(worst) ? `**At most ${worst.toFixed(2)}× of C.**` : 'Not measured against C: no compiler.'}

| pages in the page cache | pages, runs found | JavaScript | C | ratio |
|---|---|---:|---:|---:|
${passes.map((row) => `| ${row.pages} | ${row.found.replace(' ', ', ')} | ${row.js} | ${row.c} | ${Number.isFinite(rate(row)) ? `**${rate(row).toFixed(2)}×**` : '–'} |`).join('\n')}
`
}

function vmTable() {
  const lines = [
    '| engine | page cache | recorder | work | slowdown | start | stop | scans | present | written |',
    '|---|---|---|---:|---:|---:|---:|---:|---:|---:|',
  ]
  for (const { engine, cache, name } of contenders) {
    const of = (wanted) =>
      rows.filter((row) => row.engine === engine && row.cache === cache && row.name === wanted)
    const mine = of(name)
    const work = median(mine.map(({ workMs }) => workMs))
    const baseline = median(of('not recorded').map(({ workMs }) => workMs))
    const recorded = name !== 'not recorded'
    const cells = [
      engine,
      cache,
      name,
      spread(mine.map(({ workMs }) => workMs)),
      recorded ? `**${(work / baseline).toFixed(2)}×**` : '1',
      recorded ? spread(mine.map(({ startMs }) => startMs)) : '',
      recorded ? spread(mine.map(({ stopMs }) => stopMs)) : '',
      recorded ? median(mine.map(({ scans }) => scans)) : '',
      ...['present', 'written'].map((key) =>
        mine[0][key] === null ? '' : median(mine.map((row) => row[key])),
      ),
    ]
    lines.push(`| ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

function passRows() {
  const passes = rows.filter(({ what }) => what === 'pass')
  return [...new Set(passes.map(({ pages }) => pages))].map((pages) => {
    const mine = passes.filter((row) => row.pages === pages)
    const js = mine.flatMap(({ jsMs }) => jsMs)
    const c = mine.flatMap(({ cMs }) => cMs)
    const name = {
      pages,
      found: mine[0].found,
      n: js.length,
      js: spread(js),
      c: c.length === 0 ? '–' : spread(c),
    }
    return { ...name, jsMs: median(js), cMs: median(c) }
  })
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function spread(values) {
  const text = (ms) => (ms < 100 ? ms.toPrecision(2) : ms.toFixed(0))
  return `${text(median(values))} [${text(Math.min(...values))}–${text(Math.max(...values))}]`
}

function round3(ms) {
  return Number(ms.toFixed(3))
}
