// Restores a snapshot and holds another one open, says so, and ends both when its standard input ends:
// node holds-snapshot.mjs STORE RUNTIME BINARY RESTORED OPENED
import { findFirecracker, openLocalStore, restoreMachine } from 'varve'

const [location, runtimeDirectory, path, restored, opened] = process.argv.slice(2)
const store = await openLocalStore(location)
const binary = await findFirecracker({ path })
const { machine } = await restoreMachine(store, restored, { binary, runtimeDirectory, name: 'inside' })
const snapshot = await store.open(opened)
console.log(JSON.stringify({ pid: process.pid, disks: await machine.disks() }))
for await (const _ of process.stdin);
await snapshot[Symbol.asyncDispose]()
await machine.stop()
