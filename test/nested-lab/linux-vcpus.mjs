// Runs inside the nested lab: a Linux guest of several vCPUs, each with a process that writes and verifies
// memory all the time (memory-workers.py), captured while they work, by Firecracker and live, and restored:
// by every engine, with and without a working set, under recorders, and with its page server killed.
// Argument: JSON, see below. The result says what the processes found each time.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { guestAgent } from '@varve/guest'
import { guestInLab, installFunction } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'
import { isAlive } from 'varve/testing'
import { countedInImage } from './counted-in-image.mjs'
import { giveWay } from './give-way.mjs'

// Emulated, a page server takes ten seconds to start: one for all restores here, and of the next script.
process.env.VARVE_PAGE_SERVER_LINGER_MS = '600000'
const { vcpus, pages, engines } = JSON.parse(process.argv[2])
const memoryMib = 128
const store = await openLocalStore(join(process.env.TMPDIR, `vcpus-${vcpus}`), { create: true })
const setName = 'work'
/**
 * Emulated, an answer takes a second and a round less, mostly; a restored guest first waits for each of its
 * pages.
 */
const callMs = { timeoutMs: 300_000 }
const roundsMs = 300_000

const ask = async (machine, words) =>
  JSON.parse(String((await guestAgent(machine).functions.invoke('workers', words, callMs)).output))

/** Waits until every process has gone over all of its pages twice, or one has ended or found a wrong page. */
async function goesOn(machine, from) {
  const first = from ?? (await ask(machine, 'report'))
  for (const deadline = Date.now() + roundsMs; ; await sleep(1000)) {
    const now = await ask(machine, 'report')
    const done = now.workers.every(({ rounds }, i) => rounds >= first.workers[i].rounds + 2)
    const failed = now.workers.some(({ running, wrong }) => !running || wrong > 0)
    if (done || failed || Date.now() > deadline) return { first, now }
  }
}

const result = { captured: [], restores: [] }
const lap = (what, since) =>
  console.log(`${vcpus} vCPUs, ${what}: ${Math.round(performance.now() - since)} ms`)

/** Marks the guest, captures it while its processes work, and has them go on. */
async function capture(machine, tag, options) {
  const begin = performance.now()
  const before = await ask(machine, `mark ${tag}`)
  const places = await ask(machine, 'places')
  const { type, way, standstillMs } = await captureSnapshot(machine, { store, tags: [tag], ...options })
  const counted = await countedInImage(store, tag, places)
  result.captured.push({ tag, type, way, standstillMs, before, counted, ...(await goesOn(machine)) })
  lap(`captured ${tag}`, begin)
}

/** What becomes of a snapshot that is restored, told with what was asked for. */
async function restored(tag, { kill = false, ...options }, act = async () => {}) {
  const begin = performance.now()
  const { machine, report, pageServer, prefetching, recording } = await restoreMachine(store, tag, options)
  try {
    giveWay(machine)
    const found = { tag, ...options, chosen: report.engine }
    if (kill) found.kill = await killServer(pageServer)
    Object.assign(found, await goesOn(machine))
    if (kill) found.kill.faultsAfter = (await pageServer.stats()).faults
    found.prefetched = (await prefetching) ?? null
    if (recording !== undefined) found.recorded = await endRecording(machine, recording, tag)
    await act(machine)
    result.restores.push(found)
  } finally {
    await machine.stop()
  }
  lap(`${tag} by ${JSON.stringify({ ...options, ...(kill ? { kill } : {}) })}`, begin)
}

/**
 * SIGKILL of the page server while all vCPUs fault; a successor, which counts from zero, has to serve the
 * rest.
 */
async function killServer(pageServer) {
  let processes = await pageServer.processes()
  for (; processes.guard === null || !isAlive(processes.guard); await sleep(100))
    processes = await pageServer.processes()
  const { server } = processes
  const faultsBefore = (await pageServer.stats()).faults
  process.kill(server.pid, 'SIGKILL')
  while (isAlive(server)) await sleep(10)
  return { faultsBefore, otherServer: (await pageServer.processes()).server.pid !== server.pid }
}

async function endRecording(machine, recording, tag) {
  const { workingSet, recorded } = await recording.stop()
  await store.saveWorkingSet(tag, setName, workingSet)
  const sets = recorded.map(({ recorder, present, written }) => ({
    recorder,
    present: present?.pages ?? null,
    written: written?.pages ?? null,
  }))
  return { sets, ...(await goesOn(machine)) }
}

const machine = await bootMachine({
  kernel: guestInLab.kernel,
  initrd: guestInLab.initrd,
  bootArgs: guestInLab.bootArgs,
  rootDisk: { path: guestInLab.rootDisk, readOnly: true },
  memoryMib,
  vcpus,
  vsockCid: 3,
})
giveWay(machine)
try {
  const begin = performance.now()
  const agent = guestAgent(machine)
  await agent.ping({ timeoutMs: 180_000 })
  const source = readFileSync('memory-workers.py', 'utf8')
  await installFunction(agent, { name: 'workers', runtime: 'python', source }, callMs)
  const zero = { workers: Array(vcpus).fill({ rounds: 0 }) }
  await ask(machine, `start ${vcpus} ${pages}`)
  result.begun = (await goesOn(machine, zero)).now
  lap('boot and start', begin)
  await capture(machine, 'base', { mode: 'stop' })
} finally {
  await machine.stop()
}
// Of a clone, because the store has its read-only disk: a capture copies and hashes that of a booted machine.
await restored('base', { engine: 'mapped' }, async (clone) => {
  await capture(clone, 'child', { mode: 'live', freeze: 'fork', parent: 'base' })
})
await restored('child', { engine: 'paged' }, async (clone) => {
  await capture(clone, 'grandchild', { mode: 'live', freeze: 'copy', parent: 'child' })
})
for (const engine of engines) await restored('grandchild', { engine })
for (const [engine, recorders] of [
  ['file', ['mincore', 'pagemap', 'diff']],
  ['paged', ['faults', 'diff']],
])
  await restored('grandchild', { engine, record: { recorders, pollMs: 100 } })
for (const engine of engines) await restored('grandchild', { engine, workingSet: setName })
await restored('grandchild', { engine: 'paged', kill: true })

result.fsck = (await store.fsck()).findings.filter(({ severity }) => severity === 'error')
result.machinesLeft = listMachines().length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
