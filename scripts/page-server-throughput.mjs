// Faults a second of the page server, against a handler that does nothing but poll, read and copy, both through koffi:
// what the server's own work (extent map, removed pages, trace, counters) costs. Client and handler share one CPU, so
// that no wake-up between CPUs is measured. `node scripts/page-server-throughput.mjs [rounds]`; build first.
// Raw rows go to standard output, medians to standard error.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import koffi from 'koffi'
import { receiveMessage, sendMessage } from '../packages/core/dist/sys/fd-passing.js'
import { mapAnonymous, mapFile } from '../packages/core/dist/sys/memory-map.js'
import { Poller } from '../packages/core/dist/sys/poll.js'
import { processIdentity } from '../packages/core/dist/sys/proc.js'
import {
  createUserfaultfd,
  registerMissing,
  UFFD_FEATURE_EVENT_REMOVE,
  UserfaultOps,
} from '../packages/core/dist/sys/userfaultfd.js'

const pageBytes = 4096
const pages = 65_536
const cpu = '1'
const self = fileURLToPath(import.meta.url)
const pageServer = fileURLToPath(
  new URL('../packages/core/dist/restore/page-server/page-server-main.js', import.meta.url),
)

const [role, ...rest] = process.argv.slice(2)
if (role === 'client') await client(rest[0])
else if (role === 'bare') await bare(rest[0], rest[1])
else await measure(Number(role ?? 7))

async function measure(rounds) {
  const directory = mkdtempSync(join(tmpdir(), 'varve-throughput-'))
  const layer = join(directory, 'layer')
  const words = new Float64Array((pages * pageBytes) / 8)
  for (let page = 0; page < pages; page++) words.fill(page, page * 512, (page + 1) * 512)
  writeFileSync(layer, words)
  const found = { bare: [], server: [] }
  try {
    console.log('round,handler,faults_per_s,p50_us,p99_us,second_pass_ns_per_touch,wrong_pages')
    for (let round = 1; round <= rounds; round++)
      for (const handler of round % 2 ? ['bare', 'server'] : ['server', 'bare']) {
        const row = await one(handler, layer, join(directory, `${round}-${handler}`))
        found[handler].push(row)
        console.log([round, handler, ...row].join(','))
      }
  } finally {
    rmSync(directory, { recursive: true })
  }
  const median = (handler, column) =>
    found[handler].map((row) => row[column]).sort((a, b) => a - b)[Math.floor(rounds / 2)]
  for (const handler of ['bare', 'server'])
    console.error(
      `${handler}: median ${median(handler, 0)} faults/s, p50 ${median(handler, 1)} us, n ${rounds}`,
    )
  const ratios = found.server.map((row, index) => row[0] / found.bare[index][0]).sort((a, b) => a - b)
  console.error(`server/bare: median of the rounds' ratios ${ratios[Math.floor(rounds / 2)].toFixed(3)}`)
}

/** One client against one handler, both new. */
async function one(handler, layer, directory) {
  mkdirSync(directory, { mode: 0o700 })
  const socketPath = join(directory, 'uffd.sock')
  const clientProcess = pinned([self, 'client', socketPath])
  const lines = createInterface({ input: clientProcess.stdout })[Symbol.asyncIterator]()
  await lines.next()
  const config = join(directory, 'config.json')
  writeFileSync(
    config,
    JSON.stringify({
      format: 'varve-page-server',
      version: 1,
      vmm: processIdentity(clientProcess.pid),
      directory,
      socketPath,
      socketOwner: null,
      controlPath: join(directory, 'control.sock'),
      layers: [{ path: layer, pages }],
      map: { pages, runs: [pages, 0, 0] },
      randomAccess: false,
      prefetch: null,
    }),
  )
  const server = pinned(handler === 'bare' ? [self, 'bare', socketPath, layer] : [pageServer, config])
  await once(server.stdout, 'data')
  clientProcess.stdin.write('go\n')
  const { value } = await lines.next()
  clientProcess.stdin.end()
  if (handler === 'bare') server.kill()
  await Promise.all(
    [clientProcess, server].map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')),
  )
  return JSON.parse(value)
}

function pinned(args) {
  const stdio = ['pipe', 'pipe', 'inherit']
  return spawn('taskset', ['-c', cpu, process.execPath, ...args], { stdio })
}

async function client(socketPath) {
  const memcpy = koffi.load(null).func('uint64_t memcpy(uint8_t *to, uint64_t from, size_t count)')
  const memory = mapAnonymous(pages * pageBytes)
  const userfaultfd = createUserfaultfd(UFFD_FEATURE_EVENT_REMOVE)
  registerMissing(userfaultfd, memory.address, memory.lengthBytes)
  const order = Uint32Array.from({ length: pages }, (_, index) => index)
  let seed = 1
  for (let index = pages - 1; index > 0; index--) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    const other = Math.floor((seed / 2 ** 32) * (index + 1))
    const kept = order[index]
    order[index] = order[other]
    order[other] = kept
  }
  console.log('here')
  await once(process.stdin, 'data')
  const socket = connect(socketPath)
  await once(socket, 'connect')
  const region = {
    base_host_virt_addr: memory.address,
    size: memory.lengthBytes,
    offset: 0,
    page_size: pageBytes,
  }
  sendMessage(socket._handle.fd, Buffer.from(JSON.stringify([region])), [userfaultfd])
  const word = new Float64Array(1)
  const bytes = new Uint8Array(word.buffer)
  const took = new Float64Array(pages)
  let wrong = 0
  const pass = () => {
    const from = performance.now()
    let before = from
    for (let index = 0; index < pages; index++) {
      const page = order[index]
      memcpy(bytes, memory.address + page * pageBytes + 8, 8)
      const now = performance.now()
      took[index] = now - before
      before = now
      if (word[0] !== page) wrong++
    }
    return before - from
  }
  const ms = pass()
  took.sort()
  const us = (share) => Number((took[Math.floor(pages * share)] * 1000).toFixed(2))
  const row = [Math.round((pages / ms) * 1000), us(0.5), us(0.99)]
  console.log(JSON.stringify([...row, Math.round((pass() / pages) * 1e6), wrong]))
  await once(process.stdin, 'end')
  process.exit()
}

async function bare(socketPath, layer) {
  const source = mapFile(openSync(layer, 'r'), pages * pageBytes)
  const server = createServer({ pauseOnConnect: true }).listen(socketPath)
  await once(server, 'listening')
  process.stdout.write('ready\n')
  const [socket] = await once(server, 'connection')
  let message
  while (!message) message = receiveMessage(socket._handle.fd, 4096)
  const base = JSON.parse(message.bytes.toString())[0].base_host_virt_addr
  const ops = new UserfaultOps(message.descriptors[0])
  const poller = new Poller([message.descriptors[0]])
  const onPagefault = (address) => ops.copy(address, source, address - base, pageBytes)
  for (;;) {
    poller.wait(-1)
    while (ops.readEvents(onPagefault, () => {}) > 0);
  }
}
