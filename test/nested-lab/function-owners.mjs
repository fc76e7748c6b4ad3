// Runs inside the nested lab: the lab's functions in one guest. For each a restore and one invocation,
// watched by `pagemap`; then the guest is asked whose the touched pages are. Argument: JSON.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { explainMachine, guestAgent } from '@varve/guest'
import { guestHere, invokeFunction, labFunction, prepareGuest } from '@varve/lab'
import { openLocalStore, restoreMachine } from 'varve'
import { ownerSums } from './owner-sums.mjs'

const { names, memoryMib } = JSON.parse(process.argv[2])
const timeoutMs = 300_000
const functions = names.map(labFunction)
const directory = join(process.env.TMPDIR, 'owners-of-functions')
const store = await openLocalStore(directory, { create: true })
await prepareGuest({
  store,
  tags: ['base'],
  functions,
  guest: await guestHere(),
  memoryMib,
  onProgress: console.log,
})
// The first restore brings the memory file into the page cache: then all of them find it warm.
const first = await restoreMachine(store, 'base', { engine: 'file', resume: false })
await first.machine.stop()
const rows = []
for (const fn of functions) {
  const record = { recorders: ['pagemap'], pollMs: 200 }
  const { machine, recording } = await restoreMachine(store, 'base', { engine: 'file', record })
  try {
    const { fault } = await invokeFunction(guestAgent(machine), fn, 'b', { timeoutMs })
    const { workingSet } = await recording.stop()
    const began = performance.now()
    const explanation = await explainMachine(machine, store, { workingSet, timeoutMs })
    const askedMs = Math.round(performance.now() - began)
    rows.push({ function: fn.name, fault, askedMs, ...ownerSums(explanation) })
    console.log(`${fn.name}: ${explanation.pages} pages, explained in ${askedMs} ms`)
  } finally {
    await machine.stop()
  }
}
rmSync(directory, { recursive: true })
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(rows))
