// Boots a micro guest, and captures it live and as it can be. Argument: JSON. Says what came of it as JSON.
import { MicroVm } from '@varve/lab/testing'
import { captureSnapshot, findFirecracker, openLocalStore } from 'varve'

const { runtimeDirectory, store: location, tag, memoryMib, written } = JSON.parse(process.argv[2])
const store = await openLocalStore(location)
const place = { binary: await findFirecracker(), runtimeDirectory, store }
const vm = await MicroVm.boot(place, { memoryMib })
try {
  await vm.fill(written)
  const { code, message } = await captureSnapshot(vm.machine, { store, mode: 'live' }).catch((error) => error)
  const { way, lost } = await captureSnapshot(vm.machine, { store, tags: [tag] })
  console.log(JSON.stringify({ refused: { code, message }, way, lost }))
} finally {
  await vm[Symbol.asyncDispose]()
}
