// Runs inside the nested lab: a Linux guest whose init is the agent of @varve/guest. It runs commands, moves
// files, is captured while a command runs, and wakes up in clones that are told who they are. Then: which
// pages a first call touches, and what the agent's process is resident with. The lab's agent in Python comes
// last, for comparison.
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { captureGuest, guestAgent, pauseGuest, restoreGuest, resumeGuest, stopGuest } from '@varve/guest'
import { connectAgent, guestInLab } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'

process.env.VARVE_PAGE_SERVER_LINGER_MS = '600000'
const store = await openLocalStore(join(process.env.TMPDIR, 'agent'), { create: true })
const memoryMib = 128
const slow = { timeoutMs: 60_000 }
const guest = { ...guestInLab, initrd: resolve('initramfs.cpio') }
const result = {}
const began = performance.now()
const lap = (what) => console.log(`${what} after ${Math.round(performance.now() - began)} ms`)

const boot = ({ kernel, initrd, rootDisk, bootArgs }) =>
  bootMachine({
    kernel,
    initrd,
    bootArgs,
    vcpus: 1,
    memoryMib,
    vsockCid: 3,
    guestAgent: { port: 1024 },
    trackDirtyPages: true,
    rootDisk: { path: rootDisk, readOnly: true },
  })

const text = async (agent, ...argv) => String((await agent.exec(argv, slow)).stdout).trim()
/** How many processes of the command in flight there are. */
const sleepers = (agent) =>
  text(agent, 'sh', '-c', 'grep -l "424[2]" /proc/[0-9]*/cmdline 2>/dev/null | wc -l')
const codeOf = (promise) =>
  promise.then(
    () => null,
    (error) => error.code,
  )

/** Resident KiB of a process, of it what is its own and what is the program's file. */
function residentOf(rollup) {
  const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1])
  return { rssKib: kib('Rss'), anonymousKib: kib('Anonymous'), referencedKib: kib('Referenced') }
}

/**
 * Run in the guest: forgets which pages process PID has used, waits, and notes which ones it used then. It
 * needs a second to leave the group of the command that starts it.
 */
const watcher = (pid) =>
  `setsid sh -c 'sleep 2; echo 1 >/proc/${pid}/clear_refs; sleep 5; cat /proc/${pid}/smaps_rollup >/run/used' >/dev/null 2>&1 </dev/null & sleep 1`

const machine = await boot(guest)
const agent = guestAgent(machine)
result.ping = await agent.ping({ timeoutMs: 120_000 })
lap('booted')

const content = randomBytes(3_000_000)
await agent.put('/run/data', content, { mode: 0o600 })
const data = await agent.readFile('/run/data')
const terminal = await agent.start(['sh', '-c', 'stty size; tty'], { tty: { rows: 40, columns: 100 } })
let typed = ''
for await (const chunk of terminal.stdout) typed += chunk
result.work = {
  uname: await text(agent, 'uname', '-s'),
  status: (await agent.exec(['sh', '-c', 'exit 9'], slow)).exitCode,
  echoed: String((await agent.exec(['cat'], { ...slow, input: 'in and out' })).stdout),
  same: data.equals(content),
  typed,
  mounts: (await text(agent, 'cut', '-d', ' ', '-f', '2,3', '/proc/mounts')).split('\n'),
  hook: (await agent.hook('suspend', { timeoutMs: 30_000 })).steps.map(({ name }) => name),
  many: (await Promise.all(Array.from({ length: 20 }, (_, n) => text(agent, 'echo', String(n))))).join(),
  zombies: await text(agent, 'sh', '-c', "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"),
}
lap('worked')

// A call that is in flight when the machine is captured.
const inFlight = await agent.start(['sleep', '4242'])
const fate = codeOf(inFlight.result)
const before = await sleepers(agent)
await captureSnapshot(machine, { store, tags: ['base'] })
lap('captured')
result.source = {
  before,
  inFlight: await Promise.race([fate, sleep(60_000, 'still waiting')]),
}
result.source.after = await text(agent, 'echo', 'well')
result.source.left = await sleepers(agent)
lap('lost the call')
await machine.stop()

result.clones = []
for (const hostname of ['clone-a', 'clone-b']) {
  const { machine: clone } = await restoreMachine(store, 'base', { engine: 'file' })
  const its = guestAgent(clone)
  const first = performance.now()
  await its.ping(slow)
  const firstAnswerMs = performance.now() - first
  // The first clone's time is that of the snapshot; the second one's is made worse first.
  if (hostname === 'clone-b') await its.exec(['date', '-s', '2001-02-03 04:05:06'], slow)
  const fixed = await its.fixUp({ hostname, machineId: true }, slow)
  result.clones.push({
    firstAnswerMs,
    steps: fixed.steps,
    clock: fixed.clock,
    totalMs: fixed.totalMs,
    hostname: await text(its, 'hostname'),
    machineId: await text(its, 'cat', '/etc/machine-id'),
    random: await text(its, 'sh', '-c', 'head -c 32 /dev/urandom | od -An -tx1 | tr -d " \\n"'),
    left: await sleepers(its),
    fixedAt: Date.parse(`${await text(its, 'date', '-u', '+%Y-%m-%dT%H:%M:%S')}Z`) - Date.now(),
    file: (await its.readFile('/run/data', slow)).equals(content),
  })
  await clone.stop()
  lap(`fixed ${hostname} up`)
}

// A copy that is told without being asked for, and the turns of its life, each with a hook of the guest.
const hookMs = 60_000
const guestOfItsOwn = await restoreGuest(store, 'base', { engine: 'file', name: 'told', hookMs })
const { machine: paused } = await pauseGuest(guestOfItsOwn.machine, { hookMs })
const { machine: resumed } = await resumeGuest(paused, { hookMs })
await captureGuest(resumed, { store, tags: ['told'], hookMs })
result.told = {
  steps: guestOfItsOwn.told.map(({ name }) => name),
  hostname: await text(guestOfItsOwn, 'hostname'),
  hooks: (await text(guestOfItsOwn, 'cat', '/run/hooks')).split('\n'),
  last: (await stopGuest(resumed, { hookMs })).hooks.map(({ hook, programs, error }) => [
    hook,
    programs.length,
    error,
  ]),
}
lap('told')

/** Pages of the whole guest that were touched until some time after a restore, in which `work` was done. */
async function touchedBy(work, tag = 'base') {
  const record = { recorders: ['pagemap'], pollMs: 200 }
  const { machine: clone, recording } = await restoreMachine(store, tag, { engine: 'file', record })
  try {
    const begin = performance.now()
    await work(clone)
    await sleep(Math.max(0, 3000 - (performance.now() - begin)))
    const [{ present }] = (await recording.stop()).recorded
    return present.pages
  } finally {
    await clone.stop()
  }
}

const { machine: measured } = await restoreMachine(store, 'base', { engine: 'file' })
const own = guestAgent(measured)
await own.ping(slow)
await own.exec(['sh', '-c', watcher(1)], slow)
await sleep(4000)
await own.ping(slow)
await sleep(6000)
result.agent = {
  ...residentOf(String(await own.readFile('/proc/1/smaps_rollup', slow))),
  usedByPingKib: residentOf(String(await own.readFile('/run/used', slow))).referencedKib,
  idlePages: await touchedBy(async () => {}),
  pingPages: await touchedBy((clone) => guestAgent(clone).ping(slow)),
  execPages: await touchedBy((clone) => guestAgent(clone).exec(['true'], slow)),
}
await measured.stop()
lap('measured')

const other = await boot(guestInLab)
const python = connectAgent(other)
await python.ping({ timeoutMs: 120_000 })
const script = (name, body) => python.put(name, `#!/bin/sh\n${body}\n`, slow)
const find = 'cd /proc; for pid in [0-9]*; do grep -q "agent[.]py" $pid/cmdline && break; done'
await script('resident', `${find}\ncat /proc/$pid/smaps_rollup`)
await script('watch', `${find}\n${watcher('$pid').replaceAll("'", '"')}`)
await script('used', 'cat /run/used')
const invoke = async (name) => String((await python.invoke(name, '', slow)).output)
await captureSnapshot(other, { store, tags: ['python'] })
await python.ping(slow)
await invoke('watch')
await sleep(4000)
await python.ping(slow)
await sleep(6000)
result.python = {
  ...residentOf(await invoke('resident')),
  usedByPingKib: residentOf(await invoke('used')).referencedKib,
  idlePages: await touchedBy(async () => {}, 'python'),
  pingPages: await touchedBy((clone) => connectAgent(clone).ping(slow), 'python'),
}
await other.stop()
lap('compared')

result.machinesLeft = (await listMachines()).length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
