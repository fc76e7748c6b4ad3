// Runs inside the nested lab: a Linux guest of 4 vCPUs with a network, whose init is the agent. It runs
// commands, moves files, is captured while a command runs, and wakes up in clones that are told who they are
// and where in the network. Then: how much memory the agent's process has, and what of it a call uses.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { captureGuest, guestAgent, pauseGuest, restoreGuest, resumeGuest, stopGuest } from '@varve/guest'
import { guestInLab } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'

const store = await openLocalStore(join(process.env.TMPDIR, 'agent'), { create: true })
const slow = { timeoutMs: 60_000 }
const result = {}
const began = performance.now()
const lap = (what) => console.log(`${what} after ${Math.round(performance.now() - began)} ms`)

const text = async (agent, ...argv) => String((await agent.exec(argv, slow)).stdout).trim()
const sh = (agent, script) => text(agent, 'sh', '-c', script)
/** How many processes of the command in flight there are. */
const sleepers = (agent) => sh(agent, 'grep -l "424[2]" /proc/[0-9]*/cmdline 2>/dev/null | wc -l')
const codeOf = (promise) =>
  promise.then(
    () => null,
    (error) => error.code,
  )

/** Networks 10.N.0.0/24: the lab is 1 in them, the guest is 2. */
const tap = 'tap-agent'
execFileSync('tunctl', ['-t', tap])
execFileSync('ip', ['link', 'set', tap, 'up'])
const network = (n) => ({
  addresses: [{ interface: 'eth0', address: `10.${n}.0.2/24` }],
  routes: [
    { interface: 'eth0', to: '0.0.0.0/0', via: `10.${n}.0.1` },
    { interface: 'eth0', to: '192.168.7.0/24' },
  ],
})
const networkOf = async (agent) => ({
  addresses: await sh(agent, "ip -o -4 addr show eth0 | sed 's/.*inet //; s/ .*//'"),
  routes: await sh(agent, "ip route | sort | sed 's/ *$//'"),
})
/** Whether the guest answers by this network, and by no other. */
function answers(n) {
  execFileSync('ip', ['addr', 'flush', 'dev', tap])
  execFileSync('ip', ['addr', 'add', `10.${n}.0.1/24`, 'dev', tap])
  return execFileSync('ping', ['-c', '1', '-W', '20', `10.${n}.0.2`], { encoding: 'utf8' }).includes(
    '1 packets received',
  )
}

const machine = await bootMachine({
  kernel: guestInLab.kernel,
  initrd: guestInLab.initrd,
  bootArgs: guestInLab.bootArgs,
  vcpus: 4,
  memoryMib: 128,
  vsockCid: 3,
  guestAgent: { port: 1024 },
  trackDirtyPages: true,
  rootDisk: { path: guestInLab.rootDisk, readOnly: true },
  network: [{ id: 'eth0', tap }],
})
const agent = guestAgent(machine)
result.ping = await agent.ping({ timeoutMs: 120_000 })
lap('booted')

await sh(agent, 'mount -t tmpfs tmpfs /etc/varve && mkdir /etc/varve/hooks.d /etc/varve/fixup.d')
const program = (path, script) => agent.put(`/etc/varve/${path}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
for (const name of ['run', 'resume', 'suspend', 'terminate'])
  await program(`hooks.d/${name}`, `echo ${name} >>/run/hooks`)
await program('fixup.d/10-name', 'echo "I am $(hostname) at $(ip -o -4 addr show eth0 | wc -l) address"')
await program('fixup.d/20-again', 'echo "again" >&2; echo x >>/run/told')

const content = randomBytes(3_000_000)
await agent.put('/run/data', content, { mode: 0o600 })
const data = await agent.readFile('/run/data')
const terminal = await agent.start(['sh', '-c', 'stty size; tty'], { tty: { rows: 40, columns: 100 } })
let typed = ''
for await (const chunk of terminal.stdout) typed += chunk
const first = await agent.fixUp({ ...network(1), machineId: true, scriptsMs: false }, slow)
result.work = {
  uname: await text(agent, 'uname', '-s'),
  cpus: await text(agent, 'cat', '/sys/devices/system/cpu/online'),
  status: (await agent.exec(['sh', '-c', 'exit 9'], slow)).exitCode,
  echoed: String((await agent.exec(['cat'], { ...slow, input: 'in and out' })).stdout),
  same: data.equals(content),
  typed,
  mounts: (await text(agent, 'cut', '-d', ' ', '-f', '2,3', '/proc/mounts')).split('\n'),
  root: await sh(agent, 'echo x >/etc/group || echo refused'),
  hook: (await agent.hook('suspend', { timeoutMs: 30_000 })).steps.map(({ name }) => name),
  many: (await Promise.all(Array.from({ length: 20 }, (_, n) => text(agent, 'echo', String(n))))).join(),
  zombies: await sh(agent, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"),
  steps: first.steps.map(({ name }) => name),
  ...(await networkOf(agent)),
  answers: answers(1),
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

/**
 * What the agent's process is resident with, and what of it a ping uses: a process in the guest forgets which
 * pages were used, waits, and notes which ones were used then. It needs a second to leave the group of the
 * command that starts it.
 */
async function agentMemory(its) {
  const kib = (rollup, name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1])
  const watch =
    'sleep 2; echo 1 >/proc/1/clear_refs; sleep 5; cat /proc/1/smaps_rollup >/run/used.new; mv /run/used.new /run/used'
  await sh(its, `setsid sh -c '${watch}' >/dev/null 2>&1 </dev/null & sleep 1`)
  await sleep(4000)
  await its.ping(slow)
  const used = await sh(its, 'while [ ! -e /run/used ]; do sleep 1; done; cat /run/used')
  const rssKib = kib(await text(its, 'cat', '/proc/1/smaps_rollup'), 'Rss')
  return { rssKib, usedByPingKib: kib(used, 'Referenced') }
}

result.clones = []
for (const [index, hostname] of ['clone-a', 'clone-b'].entries()) {
  const { machine: clone } = await restoreMachine(store, 'base', { engine: 'file' })
  const its = guestAgent(clone)
  await its.ping(slow)
  // The first clone's time is that of the snapshot; the second one's is made worse first.
  if (hostname === 'clone-b') await its.exec(['date', '-s', '2001-02-03 04:05:06'], slow)
  const n = 2 + index
  const fixed = await its.fixUp({ hostname, machineId: true, ...network(n) }, slow)
  result.clones.push({
    steps: fixed.steps,
    clock: fixed.clock,
    totalMs: fixed.totalMs,
    said: [fixed.output.stdout, fixed.output.stderr].map(String),
    hostname: await text(its, 'hostname'),
    machineId: await text(its, 'cat', '/etc/machine-id'),
    random: await sh(its, 'head -c 32 /dev/urandom | od -An -tx1 | tr -d " \\n"'),
    left: await sleepers(its),
    fixedAt: Date.parse(`${await text(its, 'date', '-u', '+%Y-%m-%dT%H:%M:%S')}Z`) - Date.now(),
    file: (await its.readFile('/run/data', slow)).equals(content),
    network: await networkOf(its),
    answers: answers(n),
  })
  lap(`fixed ${hostname} up`)
  if (hostname === 'clone-b') result.agent = await agentMemory(its)
  await clone.stop()
}
lap('measured')

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

result.machinesLeft = listMachines().length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
