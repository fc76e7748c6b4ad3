// Runs inside the nested lab, with a directory of built guests in `guests` (docs/formats/guest-image.md):
// boots each, runs commands in it, captures one and clones it four times. The result is what the guests said.
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bootGuest, guestAgent, newIdentity } from '@varve/guest'
import { captureSnapshot, cloneMachines, listMachines, openLocalStore } from 'varve'

const directory = join(process.cwd(), 'guests')
// Files come here with their own modes, folders do not.
for (const it of readdirSync(directory, { recursive: true, withFileTypes: true }))
  if (it.isDirectory()) chmodSync(join(it.parentPath, it.name), 0o700)
chmodSync(directory, 0o700)
const { commands, clones } = JSON.parse(process.argv[2])
const command = fileURLToPath(new URL('../bin/varve.js', import.meta.resolve('varve')))
const store = await openLocalStore(join(process.env.TMPDIR, `built-${randomBytes(4).toString('hex')}`), {
  create: true,
})
/** Emulated, a first answer takes seconds. */
const wait = { connectMs: 120_000, timeoutMs: 120_000 }

async function answers(agent, list) {
  const found = {}
  for (const [name, argv, options] of list) {
    const { exitCode, stdout, stderr } = await agent.exec(argv, { ...options, ...wait })
    found[name] = exitCode === 0 ? stdout.toString().trimEnd() : `status ${exitCode}: ${stderr}`
  }
  return found
}

const result = { guests: {}, clones: [] }

async function cloned(machine) {
  const { type } = await captureSnapshot(machine, { store, tags: ['built'] })
  console.log(`captured: ${type}`)
  const all = await cloneMachines(store, 'built', clones.count, { fixUp: newIdentity() })
  for (const { machine: clone } of all) {
    const said = await answers(guestAgent(clone), clones.commands)
    result.clones.push({ name: clone.id, ...said, offMs: Number(said.clock) * 1000 - Date.now() })
  }
  await all[Symbol.asyncDispose]()
}

for (const [name, list] of Object.entries(commands)) {
  const begin = performance.now()
  const machine = { memoryMib: 128, vcpus: name === 'glibc' ? 2 : 1 }
  const guest = await bootGuest(name, { directory, name, machine, append: 'mitigations=off' })
  console.log(`${name}: the agent answered after ${Math.round(performance.now() - begin)} ms`)
  const { pid } = await guest.ping(wait)
  result.guests[name] = { agentPid: pid, ...(await answers(guest, list)) }
  result.guests[name].ownDisks = readdirSync(join(directory, 'disks')).length
  if (name === clones.of) await cloned(guest.machine)
  await guest[Symbol.asyncDispose]()
}
/** As a user types it. */
function varve(...words) {
  const env = { ...process.env, VARVE_GUESTS: directory, VARVE_STORE: store.location }
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...words], {
    env,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}
result.run = [
  varve('run', 'glibc', '--vcpus', '2', '--', 'sh', '-c', 'cat /proc/sys/kernel/ostype; exit 7'),
  varve('run', 'built', '--', 'cat', '/home/app/kept'),
]

result.disksLeft = readdirSync(join(directory, 'disks')).length
result.machinesLeft = listMachines().length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
