// One worker of a run, which `Crew` starts with an IPC channel: node worker-main.js ORDER.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findFirecracker, openLocalStore } from 'varve'
import { processIdentity } from 'varve/testing'
import { leakedDescriptors, ownDescriptors } from './descriptors.js'
import { childrenOf } from './processes.js'
import { runPaths } from './run.js'
import { Worker } from './worker.js'
import type { WorkerMessage, WorkerOrder } from './worker-messages.js'

const asked = JSON.parse(process.argv[2] ?? '') as WorkerOrder
const paths = runPaths(asked.directory)
const binary = await findFirecracker()
const store = await openLocalStore(paths.store)
const worker = new Worker(asked, binary, store)
const registration = join(paths.workers, `${asked.id}.json`)
const before = ownDescriptors()
writeFileSync(registration, JSON.stringify(processIdentity(process.pid)))

let finish = false
process.on('message', (message) => {
  finish ||= message === 'finish'
})
// The driver was killed: no process wants a result, and the VMs end with this process.
process.on('disconnect', () => process.exit(1))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

while (!finish) await worker.act()
rmSync(registration, { force: true })
await worker.end()
// Descriptors are closed by threads of libuv and by `close` events.
await new Promise((resolve) => setTimeout(resolve, 300))
const mappers = childrenOf(process.pid).filter((it) => it.includes('mapper-main.js')).length
const leaked = leakedDescriptors(before, ownDescriptors(), mappers)
process.send?.({ type: 'ended', leaked } satisfies WorkerMessage, () => process.exit(0))
