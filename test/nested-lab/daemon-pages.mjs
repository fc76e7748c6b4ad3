// Runs inside the nested lab, with the files of a built Debian guest: starts each daemon in a clone of a
// guest that has none, captures it, and records what a restored guest touches until its answer, and in a
// while without work. Says whose these pages are. Argument: JSON.
import { rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { explainMachine, guestAgent } from '@varve/guest'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'
import { ownerSums } from './owner-sums.mjs'

const { bootArgs, daemons, memoryMib, settleMs, idleMs } = JSON.parse(process.argv[2])
const store = await openLocalStore(join(process.env.TMPDIR, 'daemons'), { create: true })
const wait = { connectMs: 120_000, timeoutMs: 120_000 }
const began = performance.now()
const lap = (what) => console.log(`${what} after ${Math.round((performance.now() - began) / 1000)} s`)

async function sh(agent, script) {
  const { exitCode, stdout, stderr } = await agent.exec(['sh', '-ec', script], wait)
  if (exitCode !== 0) throw new Error(`${script}: status ${exitCode}: ${stderr}`)
  return stdout.toString()
}

/** What a request to a clone is: it gets a time and an identity of its own, and one short program runs. */
async function work(agent, name) {
  await agent.fixUp({ hostname: name, machineId: true }, wait)
  await sh(agent, 'echo hello')
}

// The disk is read only, so that captures and clones need no copy of it: what daemons write is in memory.
const writable = ['/tmp', '/var/log', '/var/tmp', '/var/lib/chrony', '/var/lib/systemd']
const source = await bootMachine({
  kernel: resolve('kernel'),
  initrd: resolve('initrd'),
  rootDisk: { path: resolve('root.ext4'), readOnly: true },
  bootArgs,
  memoryMib,
  vcpus: 1,
  vsockCid: 3,
})
await sh(guestAgent(source), writable.map((it) => `mount -t tmpfs tmpfs ${it}`).join('\n'))
await work(guestAgent(source), 'base')
await captureSnapshot(source, { store, tags: ['base'] })
await source.stop()
lap('captured a guest without daemons')

for (const [index, { name, start, processes }] of daemons.entries()) {
  const { machine } = await restoreMachine(store, 'base', { engine: 'file' })
  const agent = guestAgent(machine)
  await work(agent, 'source')
  // A command's process group ends with it: each daemon has one of its own.
  for (const command of start) await sh(agent, command)
  await sleep(settleMs)
  const running = (await sh(agent, 'cat /proc/[0-9]*/comm 2>/dev/null || true')).trim().split('\n')
  const missing = processes.filter((it) => !running.includes(it))
  if (missing.length > 0) throw new Error(`${name}: ${missing} not among ${running}`)
  await captureSnapshot(machine, { store, tags: [`daemon-${index}`] })
  await machine.stop()
  lap(`captured ${name}`)
}

const rows = []
const record = { recorders: ['pagemap'], pollMs: 500, maxMs: 600_000 }
for (const idle of [0, idleMs]) {
  const clones = []
  for (const [index, { name, processes }] of daemons.entries()) {
    const { machine, recording } = await restoreMachine(store, `daemon-${index}`, { engine: 'file', record })
    await work(guestAgent(machine), `clone-${index}`)
    clones.push({ name, processes, machine, recording, workedAt: performance.now() })
    if (idle === 0) await explain(clones.pop(), idle)
  }
  for (const clone of clones) {
    await sleep(Math.max(0, clone.workedAt + idle - performance.now()))
    clone.stopped = await clone.recording.stop()
  }
  for (const clone of clones) await explain(clone, idle)
}

async function explain({ name, processes, machine, recording, stopped }, idle) {
  const { workingSet } = stopped ?? (await recording.stop())
  const began = performance.now()
  const explanation = await explainMachine(machine, store, { workingSet, timeoutMs: 300_000 })
  const askedMs = Math.round(performance.now() - began)
  await machine.stop()
  rows.push({ daemon: name, processes, idleMs: idle, askedMs, ...ownerSums(explanation) })
  lap(`${name}, ${idle} ms without work: ${explanation.pages} pages, explained in ${askedMs} ms`)
}
rmSync(store.location, { recursive: true })
if (listMachines().length > 0) throw new Error('machines are left')
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(rows))
