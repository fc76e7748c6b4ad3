// `npm run bench:faults`: the page server against handlers in plain C (scripts/bench-faults/*.c, compiled here), with a client in C.
//   on demand  single-page faults in random order: `example` is written like Firecracker's example handler, `tight` is the least that a
//              handler can do
//   sparse     the same with each 13th page only, ascending: neighbours are of no use; `second VM`: by a page server
//              that has served a client before, whose code is compiled
//   bulk       everything installed by large calls from the handshake on: from a mapped file in the page cache, and read past the cache
// Client and server share one CPU, or each has its own; unpinned runs are bimodal. Interleaved, every contender once a round.
//   --rounds N   default 15        --quick   3 rounds        --pages N   default 65,536 (256 MiB)
//   --what LIST  of 'on demand', 'sparse', 'bulk', 'bulk-direct'    --cpus LIST   of one, two
//   --out DIR    faults.md and the raw rows, faults.jsonl (default docs/results)
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { arch, cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { quantile } from './bench-restore/summary.mjs'
import { build, root } from './setup.mjs'

build()
const { dropPageCache, emptyPageSet, onProcessEnd, pageRange, processIdentity } = await import('varve')
const { ensurePageServer, startPageServer } = await import('varve/testing')

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string' },
    quick: { type: 'boolean' },
    pages: { type: 'string' },
    what: { type: 'string' },
    cpus: { type: 'string' },
    out: { type: 'string' },
  },
})
const rounds = Number(options.rounds ?? (options.quick ? 3 : 15))
const pages = Number(options.pages ?? 65_536)
const out = options.out ?? join(root, 'docs', 'results')
const say = (text) => console.error(`bench: ${text}`)

const directory = fs.mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-bench-'))
const removeAll = () => fs.rmSync(directory, { recursive: true, force: true })
onProcessEnd(removeAll)

const client = join(directory, 'uffd-client')
const handler = join(directory, 'uffd-handler')
const layer = join(directory, 'layer')
/** Of the handlers; the client has the same, or the other. */
const serverCpu = Math.min(1, cpus().length - 1)
const contenders = {
  'on demand': ['example', 'tight', 'page server', 'page server, single pages'],
  sparse: ['example', 'tight', 'page server', 'page server, second VM'],
  bulk: ['bulk', 'page server'],
  'bulk-direct': ['bulk-direct', 'page server'],
}
const whats = options.what?.split(',') ?? Object.keys(contenders)
const clientCpus = (cpus().length > 1 ? [serverCpu, 0] : [serverCpu]).filter((cpu) =>
  (options.cpus ?? 'one,two').split(',').includes(cpu === serverCpu ? 'one' : 'two'),
)

process.env.VARVE_PAGE_SERVER_LINGER_MS = '60000'
try {
  compile()
  makeLayer()
  // What this process starts, the page server too, inherits it.
  must('taskset', ['-acp', String(serverCpu), String(process.pid)])
  const rows = []
  for (let round = 0; round <= rounds; round++) {
    if (round > 0) say(`round ${round} of ${rounds}`)
    for (const what of whats)
      for (const clientCpu of isOnDemand(what) ? clientCpus : [clientCpus.at(-1)])
        for (let turn = 0; turn < contenders[what].length; turn++) {
          const names = contenders[what]
          const name = names[(turn + round) % names.length]
          const row = await measure(
            what,
            name,
            clientCpu,
            join(directory, `${round}-${what}-${turn}-${clientCpu}`),
          )
          if (row.wrong !== 0) throw new Error(`${what}, ${name}: ${row.wrong} pages were wrong`)
          if (round > 0)
            rows.push({ what, handler: name, cpus: clientCpu === serverCpu ? 'one' : 'two', round, ...row })
        }
  }
  report(rows)
} finally {
  removeAll()
}

function isOnDemand(what) {
  return what === 'on demand' || what === 'sparse'
}

function compile() {
  for (const [program, source] of [
    [client, 'uffd-client.c'],
    [handler, 'uffd-handler.c'],
  ])
    must('cc', ['-O2', '-o', program, fileURLToPath(new URL(`bench-faults/${source}`, import.meta.url))])
}

function must(file, args) {
  const { status, error } = spawnSync(file, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? `status ${status}`}`)
}

/** Page n holds n in all its words. */
function makeLayer() {
  const words = new BigUint64Array(pages * 512)
  for (let page = 0; page < pages; page++) words.fill(BigInt(page), page * 512, (page + 1) * 512)
  fs.writeFileSync(layer, words)
}

async function measure(what, name, clientCpu, own) {
  fs.mkdirSync(own, { mode: 0o700 })
  if (!name.endsWith('second VM')) return serve(what, name, clientCpu, own)
  await serve(what, name, clientCpu, own, { keep: true })
  return serve(what, name, clientCpu, own, { directory: join(own, 'second') })
}

/** One client, and what answers its faults. `keep`: the page server is left for another. */
async function serve(what, name, clientCpu, own, { keep = false, directory = own } = {}) {
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
  const bulk = !isOnDemand(what)
  withLayer((fd) => (what === 'bulk-direct' ? dropPageCache(fd) : readWhole(fd)))
  const socketPath = join(directory, 'uffd.sock')
  const peer = start('taskset', [
    '-c',
    String(clientCpu),
    client,
    socketPath,
    String(pages),
    bulk ? 'wait' : what === 'sparse' ? 'sparse' : 'touch',
  ])
  await peer.line()
  const served = await (name.startsWith('page server')
    ? pageServer(own, directory, socketPath, peer.child.pid, {
        bulk,
        single: name.endsWith('single pages'),
      })
    : inC(socketPath, name))
  try {
    peer.child.stdin.write('go\n')
    const bulkMs = bulk ? await served.bulkMs() : undefined
    if (bulk) peer.child.stdin.write('go\n')
    const touched = JSON.parse(await peer.line())
    return bulk ? { mibPerS: Math.round((pages / 256 / bulkMs) * 1000), wrong: touched.wrong } : touched
  } finally {
    peer.child.stdin.end()
    await peer.ended
    if (!keep) await served.end()
  }
}

async function inC(socketPath, mode) {
  const server = start(handler, [socketPath, layer, mode])
  await server.line()
  return {
    bulkMs: async () => JSON.parse(await server.line()).ms,
    end: async () => {
      server.child.kill('SIGKILL')
      await server.ended
    },
  }
}

async function pageServer(own, directory, socketPath, pid, { bulk, single }) {
  const processes = await ensurePageServer(own)
  const server = await startPageServer({
    // One of its own, which starts on the CPU of this process and has mapped nothing yet.
    runtime: own,
    directory,
    vmm: processIdentity(pid),
    socketPath,
    socketOwner: null,
    layers: [{ path: layer, pages }],
    map: {
      pages,
      starts: Uint32Array.of(0),
      counts: Uint32Array.of(pages),
      sources: Int32Array.of(0),
      sourcePages: Uint32Array.of(0),
    },
    randomAccess: single,
    ...(bulk ? { workingSet: wholeImage() } : {}),
  })
  return {
    bulkMs: async () => {
      const { state, failure, ms } = await server.prefetched({ wait: true })
      if (state !== 'finished') throw new Error(`fetching ahead: ${state}, ${failure}`)
      return ms
    },
    // Its guard first, which would go on otherwise.
    end: async () => {
      for (const it of [processes.guard, processes.server]) process.kill(it.pid, 'SIGKILL')
    },
  }
}

function wholeImage() {
  return {
    image: '1'.repeat(32),
    pages,
    recordedAtMs: 0,
    windowMs: 0,
    readOnly: pageRange(0, pages),
    written: emptyPageSet,
    groups: [],
    notes: {},
  }
}

/** A child, and the lines that it writes. */
function start(file, args) {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`${file} ended`)
    return value
  }
  return { child, ended, line }
}

function withLayer(work) {
  const fd = fs.openSync(layer, 'r')
  try {
    work(fd)
  } finally {
    fs.closeSync(fd)
  }
}

function readWhole(fd) {
  const piece = Buffer.allocUnsafe(4 * 2 ** 20)
  for (let at = 0, read = 1; read > 0; at += read) read = fs.readSync(fd, piece, 0, piece.length, at)
}

function report(rows) {
  const cells = new Map()
  for (const row of rows) {
    const key = `${row.what}|${row.cpus}`
    const cell = cells.get(key) ?? new Map()
    cell.set(row.handler, [...(cell.get(row.handler) ?? []), row])
    cells.set(key, cell)
  }
  const lines = []
  for (const [key, cell] of cells) {
    const [what, on] = key.split('|')
    const rate = isOnDemand(what) ? 'pagesPerS' : 'mibPerS'
    for (const [name, of] of cell) {
      const median = (field) =>
        quantile(
          of.map((row) => row[field]),
          0.5,
        )
      const over = (reference, field) => {
        const other = cell.get(reference)
        if (other === undefined || !name.startsWith('page server') || of[0][field] === undefined) return ''
        const ratios = of.map((row) => row[field] / other.find(({ round }) => round === row.round)[field])
        return `${quantile(ratios, 0.5).toFixed(2)}×`
      }
      const [first, second] = isOnDemand(what) ? ['example', 'tight'] : [what]
      lines.push(
        `| ${[what, on, name, median(rate).toLocaleString('en'), median('p50Us') ?? '', median('p99Us') ?? '', over(first, rate), over(second, rate), over(first, 'p99Us')].join(' | ')} |`,
      )
    }
  }
  const environment = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    kernel: release(),
    arch: arch(),
    node: process.version,
    load: loadavg()[0],
    rounds,
    pages,
  }
  const text = `# Page server against C

\`npm run bench:faults\`: ${rounds} rounds, ${pages.toLocaleString('en')} pages of one layer. *On demand*: a client in C touches every page once in
random order; \`example\` is a handler in C written like Firecracker's example (poll, one message a read, the file mapped but not
touched before), \`tight\` the least a handler can do (sleeping reads of up to 64 messages, the file's pages in its page table before).
*Bulk*: everything by 2 MiB calls, from the page cache (\`bulk\`) and read past it (\`bulk-direct\`), against the same loop in C. One CPU: client and
server share it; two: each has its own. The page server brings aligned fours of pages as long as they prove useful; *single pages* is the same without (as while recording).
*Sparse*: each 13th page only, ascending, so that no neighbour is ever asked for; *second VM*: by a page server that has served a client before.
Medians; the ratios are medians of each round's. Every page is checked.
${environment.cpu}, ${environment.cores} CPUs, Linux ${environment.kernel}, Node ${environment.node}, load ${environment.load.toFixed(1)} at the end. Raw rows: [faults.jsonl](faults.jsonl).

| what | CPUs | handler | pages/s, MiB/s | p50 µs | p99 µs | of \`example\`, or of the loop in C | of \`tight\` | p99 of \`example\` |
|---|---|---|---:|---:|---:|---:|---:|---:|
${lines.join('\n')}
`
  fs.writeFileSync(join(out, 'faults.md'), text)
  fs.writeFileSync(
    join(out, 'faults.jsonl'),
    [environment, ...rows].map((row) => `${JSON.stringify(row)}\n`).join(''),
  )
  console.error(`\n${text}`)
}
