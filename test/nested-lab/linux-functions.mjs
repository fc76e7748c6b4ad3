// Runs inside the nested lab: a Linux guest with some of the lab's functions, each loaded and invoked once,
// captured into a store; then, for some of them and each input, a restore and one invocation, watched by
// `pagemap`; and a clone that is told who it is and answers for all of them. Argument: JSON, see below.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestAgent } from '@varve/guest'
import { guestHere, invokeFunction, labFunction, prepareGuest } from '@varve/lab'
import { listMachines, openLocalStore, restoreMachine } from 'varve'

const { names, measured, memoryMib, inputs, engine } = JSON.parse(process.argv[2])
const tag = 'functions'
const callTimeoutMs = 120_000

const store = await openLocalStore(join(process.env.TMPDIR, 'functions'), { create: true })
const functions = names.map(labFunction)
const {
  functions: started,
  memory,
  bootMs,
  captureMs,
} = await prepareGuest({
  store,
  tags: [tag],
  functions,
  guest: await guestHere(),
  memoryMib,
  onProgress: console.log,
})

// The first restore makes the memory file and brings it into the page cache, so
// that all of them find it warm.
const first = await restoreMachine(store, tag, { engine: 'file', resume: false })
await first.machine.stop()

const rows = []
for (const fn of measured.map(labFunction))
  for (const input of inputs) {
    const record = { recorders: ['pagemap'], pollMs: 200, notes: { function: fn.name } }
    const { machine, recording } = await restoreMachine(store, tag, { engine, record })
    try {
      const agent = guestAgent(machine)
      const { fault, guestMs, handlerMs } = await invokeFunction(agent, fn, input, {
        timeoutMs: callTimeoutMs,
      })
      const [{ present, written }] = (await recording.stop()).recorded
      const again = await invokeFunction(agent, fn, input, { timeoutMs: callTimeoutMs })
      const pages = { present: present.pages, written: written.pages }
      const times = { guestMs, handlerMs, againMs: again.guestMs }
      rows.push({ function: fn.name, input, engine, fault: fault ?? again.fault, ...pages, ...times })
      console.log(`${fn.name}, ${input}: ${present.pages} pages, ${guestMs.toFixed(0)} ms`)
    } finally {
      await machine.stop()
    }
  }

/** It is told who it is. */
async function clone(hostname) {
  const { machine } = await restoreMachine(store, tag, { engine })
  try {
    const agent = guestAgent(machine)
    const call = { timeoutMs: callTimeoutMs }
    await agent.fixUp({ hostname }, call)
    const { stdout } = await agent.exec(['hostname'], call)
    const faults = []
    for (const fn of functions) faults.push((await invokeFunction(agent, fn, 'b', call)).fault)
    const running = (await agent.functions.list()).map(({ name, running: isUp }) => ({ name, running: isUp }))
    return { says: stdout.toString('utf8'), faults, running }
  } finally {
    await machine.stop()
  }
}

const result = {
  started,
  memory,
  bootMs,
  captureMs,
  rows,
  clone: await clone('clone-1'),
  machinesLeft: listMachines().length,
}
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
