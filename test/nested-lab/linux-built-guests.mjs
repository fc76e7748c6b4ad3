// Boots Linux guests of a directory of built guests, `guests` (docs/formats/guest-image.md): runs commands in
// each, captures it, restores it without a fix-up, and clones it. The result is what the guests said.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bootGuest, guestAgent, newIdentity } from '@varve/guest'
import { captureSnapshot, cloneMachines, listMachines, openLocalStore, restoreMachine } from 'varve'
import { followGuest } from './guest-commands.mjs'
import { guestsHere } from './guests-here.mjs'

const directory = guestsHere()
const { guests, runs } = JSON.parse(process.argv[2])
const command = fileURLToPath(new URL('../bin/varve.js', import.meta.resolve('varve')))
const store = await openLocalStore(join(process.env.TMPDIR, 'built'), { create: true })
/** Emulated, a first answer takes seconds. */
const wait = { connectMs: 120_000, timeoutMs: 120_000 }
const began = performance.now()
const lap = (what) => console.log(`${what} after ${Math.round(performance.now() - began)} ms`)

async function answers(agent, list) {
  const found = {}
  for (const [name, argv, options] of list) {
    const { exitCode, stdout, stderr } = await agent.exec(argv, { ...options, ...wait })
    found[name] = exitCode === 0 ? stdout.toString().trimEnd() : `status ${exitCode}: ${stderr}`
  }
  return found
}

const asRoot = { ...wait, user: '0', cwd: '/' }

/** What must differ between machines, and the clock. `programs` is the folder of head and date. */
async function identityOf(agent, programs) {
  const file = async (path) => String(await agent.readFile(path, wait)).trim()
  // First of all: a command draws random numbers for itself.
  const uuid = await file('/proc/sys/kernel/random/uuid')
  const random = await agent.exec([`${programs}/head`, '-c', '32', '/dev/urandom'], asRoot)
  const asked = Date.now()
  const date = await agent.exec([`${programs}/date`, '+%s'], asRoot)
  return {
    uuid,
    entropy: random.stdout.toString('hex'),
    hostname: await file('/proc/sys/kernel/hostname'),
    machineId: await file('/etc/machine-id'),
    bootId: await file('/proc/sys/kernel/random/boot_id'),
    // `date` cuts to whole seconds: somewhere between the question and the answer, or a second before.
    earlyMs: asked - Number(date.stdout) * 1000,
    lateMs: Number(date.stdout) * 1000 - Date.now(),
  }
}

async function cloned({ name, programs, raw: rawCount, clones: count, ofClones }, guest) {
  // Right before the capture, so that no clone is due to reseed its generator by itself.
  await guest.fixUp({}, wait)
  const { type } = await captureSnapshot(guest.machine, { store, tags: [`of-${name}`] })
  lap(`${name}: captured, ${type}`)
  const raw = []
  while (raw.length < rawCount) {
    const { machine } = await restoreMachine(store, `of-${name}`, { engine: 'file' })
    raw.push(await identityOf(guestAgent(machine), programs))
    await machine.stop()
  }
  lap(`${name}: restored as it was`)
  const clones = []
  const all = await cloneMachines(store, `of-${name}`, count, { fixUp: newIdentity() })
  for (const { machine } of all) {
    const agent = guestAgent(machine)
    clones.push({
      name: machine.id,
      ...(await identityOf(agent, programs)),
      ...(await answers(agent, ofClones)),
    })
  }
  await all[Symbol.asyncDispose]()
  lap(`${name}: cloned`)
  return { raw, clones }
}

const result = { guests: {} }
for (const it of guests) {
  const { name, vcpus, memoryMib, commands, files = {}, programs } = it
  const machine = { memoryMib, vcpus }
  const options = { directory, name, machine, append: 'mitigations=off', readyMs: 900_000 }
  const guest = await bootGuest(name, options)
  lap(`${name}: booted`)
  const { pid } = await guest.ping(wait)
  for (const [path, source] of Object.entries(files)) await guest.put(path, readFileSync(source), wait)
  const said = { agentPid: pid, ...(await answers(guest, commands)) }
  if (pid !== 1) {
    // Its init starts it again. The call that ends it ends with it.
    await guest.exec(['sh', '-c', `kill -9 ${pid}`], wait).catch(() => {})
    said.restartedPid = (await guest.ping(wait)).pid
  }
  const ownDisks = readdirSync(join(directory, 'disks')).length
  const source = await identityOf(guest, programs)
  result.guests[name] = { said, ownDisks, source, ...(await cloned(it, guest)) }
  await guest[Symbol.asyncDispose]()
}

/** As a user types it. */
function varve(words) {
  const env = { ...process.env, VARVE_GUESTS: directory, VARVE_STORE: store.location }
  const options = { env, encoding: 'utf8' }
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...words], options)
  return { status, stdout, stderr }
}
result.runs = runs.map(varve)
lap('run as commands')

process.env.VARVE_GUESTS = directory
result.example = await followGuest('musl', ['sh', '-c', 'while :; do echo again; sleep 1; done'], 3)
lap('example run')

result.disksLeft = readdirSync(join(directory, 'disks')).length
result.machinesLeft = listMachines().length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
