// Runs inside the nested lab: the lab's functions in guests that are prepared in different ways before the
// capture. For each way and function: a restore and one invocation, watched by `pagemap`. Argument: JSON.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestAgent } from '@varve/guest'
import { guestHere, invokeFunction, labFunction, prepareGuest } from '@varve/lab'
import { openLocalStore, restoreMachine } from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'

const { names, memoryMib, input } = JSON.parse(process.argv[2])
const timeoutMs = 120_000
const functions = names.map(labFunction)
const guest = await guestHere()

const script = (agent, body) => agent.exec(['sh', '-c', body], { timeoutMs })
const ways = {
  'as it is': {},
  'caches dropped': {
    beforeCapture: (agent) => script(agent, 'sync; echo 3 >/proc/sys/vm/drop_caches'),
  },
  init_on_free: { bootArgs: ' init_on_free=1' },
  'never invoked': { warm: null },
}

const result = []
for (const [way, { bootArgs = '', ...options }] of Object.entries(ways)) {
  const directory = join(process.env.TMPDIR, 'sets')
  const store = await openLocalStore(directory, { create: true })
  await prepareGuest({
    store,
    tags: ['base'],
    functions,
    guest: { ...guest, bootArgs: guest.bootArgs + bootArgs },
    memoryMib,
    onProgress: console.log,
    ...options,
  })
  const snapshot = await store.open('base')
  const { pages } = snapshot.map
  result.push({ kind: 'snapshot', way, pages, dataPages: pages - pagesFrom(snapshot.map, zeroSource).pages })
  await snapshot[Symbol.asyncDispose]()
  // The first restore brings the memory file into the page cache: then all of them find it warm.
  const first = await restoreMachine(store, 'base', { engine: 'file', resume: false })
  await first.machine.stop()
  for (const fn of functions) {
    const record = { recorders: ['pagemap'], pollMs: 200 }
    const { machine, recording } = await restoreMachine(store, 'base', { engine: 'file', record })
    try {
      const { fault } = await invokeFunction(guestAgent(machine), fn, input, { timeoutMs })
      const [{ present, written }] = (await recording.stop()).recorded
      const row = { way, function: fn.name, touched: present.pages, written: written.pages, fault }
      result.push({ kind: 'invoked', ...row })
      console.log(JSON.stringify(row))
    } finally {
      await machine.stop()
    }
  }
  rmSync(directory, { recursive: true })
}
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
