// `npm run bench:compose`: flatten, squash and pack of a base with three diffs, against a loop that copies page by page and
// against cp(1) of the finished flat image, on the file system of the temporary directory and, as root, on a reflink XFS.
//   --quick         256 MiB and 3 rounds in place of 2 GiB and 7
//   --rounds N
//   --rows FILE     raw rows as JSON lines (default: standard output)
// A Markdown table goes to standard error. Everything is warm in the page cache. It needs about 8 GB of disk.
import { spawnSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import * as fs from 'node:fs'
import { arch, cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { build } from './setup.mjs'

build()
const {
  compareImages,
  composeExtentMap,
  flatten,
  onProcessEnd,
  packLayer,
  sealLayer,
  squashLayers,
  verifyLayer,
} = await import('varve')
const { openReflinkFileSystem } = await import('@varve/lab')
const { observeMutations, sealPacked } = await import('varve/testing')

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean' }, rounds: { type: 'string' }, rows: { type: 'string' } },
})
const pageBytes = 4096
const mib = 2 ** 20
const pages = (options.quick ? 256 * mib : 2048 * mib) / pageBytes
const rounds = Number(options.rounds ?? (options.quick ? 3 : 7))
const say = (text) => console.error(`bench: ${text}`)
const rows = []

const directory = fs.mkdtempSync(join(tmpdir(), 'varve-bench-'))
const removeAll = () => fs.rmSync(directory, { recursive: true, force: true })
onProcessEnd(removeAll)
const stopper = new AbortController()
process.once('SIGINT', () => stopper.abort())
process.once('SIGTERM', () => stopper.abort())
const { signal } = stopper

try {
  const plain = join(directory, 'plain')
  fs.mkdirSync(plain)
  await measure(fileSystemOf(plain), plain, false)
  fs.rmSync(plain, { recursive: true })
  await onReflinks()
  console.error(table())
} catch (error) {
  if (!signal.aborted) throw error
  say('interrupted')
  process.exitCode = 130
} finally {
  removeAll()
  if (options.rows) fs.writeFileSync(options.rows, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
}

async function onReflinks() {
  let mounted
  try {
    mounted = await openReflinkFileSystem(directory, options.quick ? 2048 * mib : 8192 * mib, {
      filled: true,
      onProgress: say,
    })
  } catch (error) {
    if (error.code !== 'HOST_UNSUPPORTED') throw error
    say(`NOT MEASURED on a reflink file system: ${error.message}`)
    return
  }
  try {
    await measure('xfs, reflink, loop device', mounted.path, true)
  } finally {
    await mounted[Symbol.asyncDispose]()
  }
}

/** One file system: makes the layers, then every contender once a round, each round beginning with another one. */
async function measure(fileSystem, where, reflinks) {
  say(`${fileSystem}: making layers`)
  const path = (name) => join(where, name)
  const base = await baseLayer(path('base'))
  const runs = [base, ...(await diffs(path, base, 'runs', 15))]
  const splinters = [base, ...(await diffs(path, base, 'splinters', 2))]
  const [chain, splintered] = [runs, splinters].map((files) => ({
    map: composeExtentMap(files.map(({ index }) => index)),
    files,
  }))
  const flat = path('flat')
  const setUp = await flatten(chain, flat, { signal })
  for (const file of [...runs, ...splinters, { path: flat }]) readThrough(file.path)
  say(
    `${fileSystem}: ${chain.map.starts.length} runs in the image of runs, ${splintered.map.starts.length} in that of splinters, copied by ${setUp.method}`,
  )
  const out = path('out')
  const contenders = {
    flatten: () => ours(() => flatten(chain, out, { signal })),
    'flatten, splinters': () => ours(() => flatten(splintered, out, { signal })),
    squash: () => ours(() => squashLayers(runs, out, { signal })),
    pack: () => ours(() => packLayer(base, out, { layout: 'packed', signal })),
    'loop, page by page': () => loop(chain, out),
    'cp --sparse=always': () => cp(['--sparse=always', flat, out]),
    ...(reflinks
      ? { 'cp --sparse=always --reflink=never': () => cp(['--sparse=always', '--reflink=never', flat, out]) }
      : {}),
  }
  const checks = {
    flatten: async () => same(await compareImages(out, flat, { signal })),
    'flatten, splinters': async () => same(await compareImages(out, splintered, { signal })),
    squash: (layer) => verifyLayer(layer, { signal }),
    pack: (layer) => verifyLayer(layer, { signal }),
    'loop, page by page': async () => same(await compareImages(out, flat, { signal })),
  }
  const names = Object.keys(contenders)
  for (let round = 0; round < rounds; round++) {
    say(`${fileSystem}: round ${round + 1} of ${rounds}`)
    for (let i = 0; i < names.length; i++) {
      signal.throwIfAborted()
      const name = names[(i + round) % names.length]
      const { result, ...row } = await contenders[name]()
      if (round === 0) await checks[name]?.(result)
      const told = { fileSystem, contender: name, round: round + 1, ...row }
      rows.push(told)
      if (!options.rows) console.log(JSON.stringify(told))
      fs.rmSync(out)
      await calm(where)
    }
  }
}

/** XFS frees a removed file's extents in the background; the next contender must not pay for that. */
async function calm(where) {
  const free = () => fs.statfsSync(where).bfree
  for (let before = -1; before !== free(); ) {
    before = free()
    await sleep(100)
  }
}

function same(differing) {
  if (differing.pages !== 0) throw new Error(`${differing.pages} pages differ`)
}

/** Times of one of our own calls, split where its changes on disk show what it is at. */
async function ours(work) {
  const events = []
  observeMutations(({ kind }) => events.push({ kind, at: performance.now() }))
  const start = performance.now()
  const result = await work()
  const end = performance.now()
  observeMutations(undefined)
  const named = events.findIndex(({ kind }) => kind === 'link' || kind === 'rename')
  const lastSync = events.slice(0, named).findLastIndex(({ kind }) => kind === 'fsync')
  // A layer's footer is written right before its last sync, and after checksums that are computed during the sync of its pages.
  const isLayer = result.copied !== undefined
  const dataSync = isLayer
    ? events.slice(0, lastSync - 1).findLastIndex(({ kind }) => kind === 'fsync')
    : lastSync
  const copied = result.copied ?? result
  return {
    result,
    copyMs: ms(events[dataSync].at - start),
    ...(isLayer ? { checksumMs: ms(events[lastSync - 1].at - events[dataSync].at) } : {}),
    syncMs: ms(end - events[lastSync].at),
    totalMs: ms(end - start),
    method: copied.method,
    pagesBy: copied.pagesBy,
  }
}

/** What one would write first: each page read from where it comes from, and written. */
async function loop({ map, files }, out) {
  const start = performance.now()
  const sources = files.map(({ path }) => fs.openSync(path, 'r'))
  const target = fs.openSync(out, 'wx+', 0o600)
  fs.ftruncateSync(target, map.pages * pageBytes)
  const page = Buffer.allocUnsafe(pageBytes)
  for (let i = 0; i < map.starts.length; i++) {
    if (map.sources[i] === -1) continue
    for (let j = 0; j < map.counts[i]; j++) {
      fs.readSync(sources[map.sources[i]], page, 0, pageBytes, (map.sourcePages[i] + j) * pageBytes)
      fs.writeSync(target, page, 0, pageBytes, (map.starts[i] + j) * pageBytes)
    }
    if (i % 1024 === 0) signal.throwIfAborted()
  }
  const copied = performance.now()
  fs.fsyncSync(target)
  const end = performance.now()
  for (const fd of [...sources, target]) fs.closeSync(fd)
  return { copyMs: ms(copied - start), syncMs: ms(end - copied), totalMs: ms(end - start) }
}

async function cp(args) {
  const start = performance.now()
  const { status, stderr } = spawnSync('cp', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cp ${args.join(' ')}: ${stderr}`)
  const copied = performance.now()
  const fd = fs.openSync(args.at(-1), 'r')
  fs.fsyncSync(fd)
  const end = performance.now()
  fs.closeSync(fd)
  return { copyMs: ms(copied - start), syncMs: ms(end - copied), totalMs: ms(end - start) }
}

async function baseLayer(path) {
  const fd = fs.openSync(path, 'wx', 0o600)
  const buffer = randomFillSync(Buffer.alloc(4 * mib))
  for (let page = 0; page < pages; page += buffer.length / pageBytes) {
    buffer.writeUInt32LE(page, 0)
    fs.writeSync(fd, buffer, 0, buffer.length, page * pageBytes)
  }
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  return sealLayer(path, { image: idOf(1), parent: null, signal })
}

/** Three diffs, each of a tenth of the pages in scattered runs of 1 to `longest` pages, packed as captures are. */
async function diffs(path, base, name, longest) {
  const random = generator(longest)
  const layers = []
  let parent = base.image
  for (let level = 1; level <= 3; level++) {
    const memory = path('memory')
    const fd = fs.openSync(memory, 'wx', 0o600)
    fs.ftruncateSync(fd, pages * pageBytes)
    const buffer = randomFillSync(Buffer.alloc(longest * pageBytes))
    const meanGap = ((1 + longest) / 2) * 9
    for (let page = 0; ; ) {
      page += 1 + Math.floor(random() * (2 * meanGap - 1))
      const count = 1 + Math.floor(random() * longest)
      if (page + count > pages) break
      buffer.writeUInt32LE(page + level, 0)
      fs.writeSync(fd, buffer, 0, count * pageBytes, page * pageBytes)
      page += count
    }
    fs.closeSync(fd)
    const image = idOf(longest * 100 + level)
    layers.push(await sealPacked(memory, path(`${name}-${level}`), { image, parent, signal }))
    fs.rmSync(memory)
    parent = image
  }
  return layers
}

function generator(seed) {
  let state = seed
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return state / 0x80000000
  }
}

function readThrough(path) {
  const buffer = Buffer.allocUnsafe(4 * mib)
  const fd = fs.openSync(path, 'r')
  while (fs.readSync(fd, buffer) > 0);
  fs.closeSync(fd)
}

function fileSystemOf(path) {
  const names = { 61267: 'ext4', 1481003842: 'xfs', 16914836: 'tmpfs', 2435016766: 'btrfs' }
  const { type } = fs.statfsSync(path)
  return names[type] ?? `0x${type.toString(16)}`
}

function table() {
  const lines = [
    `${(pages * pageBytes) / mib} MiB base, three diffs of 10 %, n = ${rounds}; Linux ${release()}, ${arch()}, ${cpus().length} CPUs, Node ${process.versions.node}, ${spawnSync('cp', ['--version'], { encoding: 'utf8' }).stdout.split('\n')[0]}`,
    '',
    '| file system | what | copy | verify, checksums | sync | total, median | p90 | method |',
    '|---|---|---|---|---|---|---|---|',
  ]
  const keys = [...new Set(rows.map(({ fileSystem, contender }) => `${fileSystem}\0${contender}`))]
  for (const key of keys) {
    const [fileSystem, contender] = key.split('\0')
    const mine = rows.filter((row) => row.fileSystem === fileSystem && row.contender === contender)
    const at = (field, share) => {
      const values = mine.map((row) => row[field]).filter((value) => value !== undefined)
      if (values.length === 0) return '–'
      return values
        .sort((a, b) => a - b)
        [Math.min(values.length - 1, Math.floor(values.length * share))].toFixed(0)
    }
    const median = (field) => at(field, 0.5)
    lines.push(
      `| ${fileSystem} | ${contender} | ${median('copyMs')} | ${median('checksumMs')} | ${median('syncMs')} | **${median('totalMs')}** | ${at('totalMs', 0.9)} | ${mine[0].method ?? ''} |`,
    )
  }
  return lines.join('\n')
}

function idOf(number) {
  return number.toString(16).padStart(32, '0')
}

function ms(value) {
  return Math.round(value * 10) / 10
}
