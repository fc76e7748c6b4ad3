// Runs inside the nested lab: a Linux guest with two processes that write known pages. Records what they
// write after a restore, and asks who has these pages: the machine itself, and by `varve ws explain` a clone.
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { explainMachine, guestAgent } from '@varve/guest'
import { guestInLab } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'

const directory = join(process.env.TMPDIR, 'owners')
const store = await openLocalStore(directory, { create: true })
const slow = { timeoutMs: 120_000 }
const began = performance.now()
const lap = (what) => console.log(`${what} after ${Math.round(performance.now() - began)} ms`)

const { kernel, initrd, rootDisk, bootArgs } = guestInLab
const machine = await bootMachine({
  kernel,
  initrd,
  rootDisk: { path: rootDisk, readOnly: true },
  bootArgs,
  vcpus: 1,
  memoryMib: 192,
  vsockCid: 3,
})
const agent = guestAgent(machine)
await agent.ping(slow)
lap('booted')
await agent.put('/run/known-pages.py', readFileSync('known-pages.py'))
const strides = { 'keeper-a': 2, 'keeper-b': 8 }
const names = Object.keys(strides)
const start = (name) =>
  `setsid python3 -S /run/known-pages.py ${name} ${strides[name]} >/dev/null 2>&1 </dev/null &`
const until = (what) =>
  names.map((name) => `while [ ! -e /run/${what}-${name} ]; do sleep 0.1; done`).join('\n')
const sh = (its, script) => its.exec(['sh', '-c', script], slow)
await sh(agent, `${names.map(start).join('\n')}\n${until('ready')}`)
// A file that was read, and that no process maps.
await sh(agent, 'cat /usr/lib/python3*/os.py >/dev/null')
await captureSnapshot(machine, { store, tags: ['base'] })
await machine.stop()
lap('captured')

const record = { recorders: ['pagemap'] }
const { machine: clone, recording } = await restoreMachine(store, 'base', { engine: 'file', record })
const its = guestAgent(clone)
await sh(its, `${names.map((name) => `echo >/run/go-${name}`).join('\n')}\n${until('done')}`)
const { workingSet } = await recording.stop()
await store.saveWorkingSet('base', 'work', workingSet)
lap('recorded')
const began2 = performance.now()
const now = await explainMachine(clone, store, { workingSet, timeoutMs: 300_000 })
const askedMs = performance.now() - began2
const touched = await explainMachine(clone, store, { timeoutMs: 300_000 })
lap('explained the machine')

const command = '/varve/packages/core/bin/varve.js'
const explain = async (...args) => {
  const words = [command, 'ws', 'explain', ...args, '--store', directory]
  return (await promisify(execFile)(process.execPath, words, { maxBuffer: 2 ** 26 })).stdout
}
const ofMachine = await explain('--machine', clone.id, 'base:work', '--no-files')
const stillAnswers = (await sh(its, 'echo yes')).stdout.toString()
await clone.stop()
lap('explained the machine by the command')
const captured = JSON.parse(await explain('base:work', '--json', '--svg', 'owners.svg'))
const svg = readFileSync('owners.svg', 'utf8')
lap('explained a clone')

writeFileSync(
  process.env.VARVE_LAB_RESULT,
  JSON.stringify({
    now,
    touched,
    captured,
    ofMachine,
    stillAnswers,
    svg,
    askedMs,
    machinesLeft: listMachines().length,
  }),
)
