// Runs inside the nested lab: a Linux guest whose processes work on memory (memory-workers.py) and use their
// devices (device-traffic.py) is captured live again and again, after its boot and after a restore, and
// restored. Argument: JSON, see below. The result says what each snapshot holds and what the processes found.
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { guestAgent } from '@varve/guest'
import { guestInLab, installFunction } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'
import { countedInImage } from './counted-in-image.mjs'
import { giveWay } from './give-way.mjs'
import { reflinkScratch } from './reflink-scratch.mjs'
import { StreamToGuest } from './stream-to-guest.mjs'

// Emulated, a page server takes ten seconds to start: one for all restores here, and of the next script.
process.env.VARVE_PAGE_SERVER_LINGER_MS = '600000'
/**
 * `rounds`: how the memory is frozen each time. `engines`: what restores the last ones, one each. `reflinks`:
 * whether store and disks lie on XFS.
 */
const { vcpus, pages, rounds, engines, reflinks } = JSON.parse(process.argv[2])
const workers = Math.max(2, vcpus)
const pageBytes = 4096
/** Of device-traffic.py. */
const ringBlocks = 64
const logBytes = 16 * 2 ** 20
const counted = Buffer.from('counted!').readBigUInt64LE()

const directory = join(process.env.TMPDIR, `live-${randomBytes(4).toString('hex')}`)
mkdirSync(directory, { mode: 0o700 })
const xfs = reflinks ? await reflinkScratch(directory, 2 ** 31) : undefined
const scratch = xfs?.path ?? directory
const store = await openLocalStore(join(scratch, 'store'), { create: true })
const callMs = { timeoutMs: 300_000 }
const goesOnMs = 120_000
const result = { captured: [], restores: [] }
const lap = (what, since) =>
  console.log(`live, ${vcpus} vCPUs, ${what}: ${Math.round(performance.now() - since)} ms`)

const ask = async (machine, name, words) =>
  JSON.parse(String((await guestAgent(machine).functions.invoke(name, words, callMs)).output))
const askBoth = async (machine) => ({
  workers: (await ask(machine, 'workers', 'report')).workers,
  traffic: await ask(machine, 'traffic', 'report'),
})

/**
 * Waits until each worker has gone over its pages so many times, and each process of the traffic has made so
 * many steps; or one has ended or found something wrong. Throws if one stands still.
 */
async function goesOn(machine, first, { workerRounds, steps }) {
  for (const deadline = Date.now() + goesOnMs; ; await sleep(500)) {
    const now = await askBoth(machine)
    const all = [...now.workers, ...now.traffic]
    const done =
      now.workers.every(({ rounds }, i) => rounds >= first.workers[i].rounds + workerRounds) &&
      now.traffic.every(({ rounds }, i) => rounds >= first.traffic[i].rounds + steps)
    const failed = all.some(({ running, wrong }) => !running || wrong > 0)
    if (done || failed) return { first, now }
    if (Date.now() > deadline)
      throw new Error(`a process stands still: ${JSON.stringify(first)}, then ${JSON.stringify(now)}`)
  }
}
const little = { workerRounds: 1, steps: 4 }
/** Every page and block that a process keeps is verified once. */
const everything = { workerRounds: 2, steps: ringBlocks + 1 }

/** What the blocks of the written disk hold; null for one that does not hold one number throughout. */
async function numbersOnDisk(tag) {
  const snapshot = await store.open(tag)
  const file = await open(snapshot.diskFiles.find(({ drive }) => drive === 'log').path)
  try {
    const ring = Buffer.alloc(ringBlocks * pageBytes)
    await file.read(ring, 0, ring.length, 0)
    return Array.from({ length: ringBlocks }, (_, block) => {
      const bytes = ring.subarray(block * pageBytes, (block + 1) * pageBytes)
      if (bytes.every((byte) => byte === 0)) return 0
      const head = bytes.subarray(0, 16)
      const isWhole = bytes.equals(Buffer.alloc(pageBytes, head)) && head.readBigUInt64LE() === counted
      return isWhole ? Number(head.readBigUInt64LE(8)) : null
    })
  } finally {
    await file.close()
    await snapshot[Symbol.asyncDispose]()
  }
}

async function capture(machine, stream, tag, options) {
  const begin = performance.now()
  const places = {
    workers: await ask(machine, 'workers', 'places'),
    traffic: await ask(machine, 'traffic', 'places'),
  }
  const before = await askBoth(machine)
  const { acked } = stream
  const taken = await captureSnapshot(machine, { store, tags: [tag], mode: 'live', ...options })
  const { type, way, standstillMs, disksMs } = taken
  const found = {
    stream: { acked, sent: stream.sent },
    counted: await countedInImage(store, tag, places.workers),
    counters: await countedInImage(store, tag, places.traffic),
    disk: await numbersOnDisk(tag),
  }
  const going = await goesOn(machine, before, little)
  result.captured.push({ tag, type, way, standstillMs, disksMs, ...found, ...going })
  lap(
    `${tag} by ${way.frozen.how}, ${way.frozen.pages} pages, stood still for ${Math.round(standstillMs)} ms, disks ${Math.round(disksMs)} ms`,
    begin,
  )
}

/** A clone with a stream of its own. */
async function restored(tag, engine, act) {
  const begin = performance.now()
  const { machine } = await restoreMachine(store, tag, { engine })
  const stream = new StreamToGuest(machine)
  try {
    giveWay(machine)
    const going = await goesOn(machine, await askBoth(machine), everything)
    result.restores.push({ tag, engine, ...going, acked: stream.acked })
    lap(`${tag} restored by ${engine}`, begin)
    await act?.(machine, stream)
  } finally {
    await stream.end()
    await machine.stop()
  }
}

/** With content behind the ring, so that a copy takes space, where blocks cannot be shared. */
function logDisk() {
  const path = join(scratch, 'log')
  const ringBytes = ringBlocks * pageBytes
  writeFileSync(path, Buffer.concat([Buffer.alloc(ringBytes), randomBytes(logBytes - ringBytes)]), {
    mode: 0o600,
  })
  return path
}

const machine = await bootMachine({
  kernel: guestInLab.kernel,
  initrd: guestInLab.initrd,
  bootArgs: guestInLab.bootArgs,
  rootDisk: { path: guestInLab.rootDisk, readOnly: true },
  disks: [{ id: 'log', path: logDisk() }],
  memoryMib: 128,
  vcpus,
  vsockCid: 3,
})
giveWay(machine)
const stream = new StreamToGuest(machine)
try {
  const begin = performance.now()
  const agent = guestAgent(machine)
  await agent.ping({ timeoutMs: 180_000 })
  for (const [name, file] of [
    ['workers', 'memory-workers.py'],
    ['traffic', 'device-traffic.py'],
  ]) {
    const source = readFileSync(file, 'utf8')
    await installFunction(agent, { name, runtime: 'python', source }, callMs)
  }
  await ask(machine, 'workers', `start ${workers} ${pages}`)
  await ask(machine, 'traffic', 'start')
  const zero = { workers: Array(workers).fill({ rounds: 0 }), traffic: Array(2).fill({ rounds: 0 }) }
  await goesOn(machine, zero, little)
  lap('boot and start', begin)
  await capture(machine, stream, 'base', { freeze: 'fork' })
} finally {
  await stream.end()
  await machine.stop()
}
// Of a clone, because the store has its read-only disk: a capture copies and hashes that of a booted machine.
await restored('base', engines[0], async (clone, feeding) => {
  for (const [round, freeze] of rounds.entries()) await capture(clone, feeding, `round-${round}`, { freeze })
})
for (const [index, engine] of engines.entries())
  await restored(`round-${rounds.length - engines.length + index}`, engine)

result.fsck = (await store.fsck()).findings.filter(({ severity }) => severity === 'error')
result.machinesLeft = listMachines().length
await xfs?.[Symbol.asyncDispose]()
rmSync(directory, { recursive: true, force: true })
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
