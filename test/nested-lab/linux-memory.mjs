// Runs inside the nested lab: a Linux guest with functions that were each invoked once, captured; restored,
// one of them invoked once more, watched, which gives a working set and a child snapshot. All of it comes out
// as one archive. Argument: JSON.
import { join } from 'node:path'
import { guestAgent } from '@varve/guest'
import { guestHere, invokeFunction, labFunction, prepareGuest } from '@varve/lab'
import { captureSnapshot, openLocalStore, restoreMachine } from 'varve'

const { names, memoryMib } = JSON.parse(process.argv[2])
const functions = names.map(labFunction)
const store = await openLocalStore(join(process.env.TMPDIR, 'memory'), { create: true })
await prepareGuest({
  store,
  tags: ['base'],
  functions,
  guest: await guestHere(),
  memoryMib,
  onProgress: console.log,
})
const { machine, recording } = await restoreMachine(store, 'base', {
  engine: 'file',
  record: { recorders: ['pagemap'], pollMs: 200 },
})
const { fault } = await invokeFunction(guestAgent(machine), functions[0], 'b', { timeoutMs: 300_000 })
if (fault !== null) throw new Error(fault)
const { workingSet } = await recording.stop()
await captureSnapshot(machine, { store, tags: ['child'] })
await machine.stop()
await store.saveWorkingSet('base', 'answer', workingSet)
console.log(`${workingSet.readOnly.pages + workingSet.written.pages} pages in the working set`)
await store.exportTo(['base', 'child'], join(process.env.VARVE_LAB_OUTPUT, 'guest.tar'))
