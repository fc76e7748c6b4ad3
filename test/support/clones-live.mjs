// Clones a machine of another process, and is killed as soon as the clones run, before their snapshot is
// sealed: `NAME STORE RUNTIME N`.
import { cloneMachines, connectMachine, findFirecracker, openLocalStore } from 'varve'

const [name, path, runtimeDirectory, count] = process.argv.slice(2)
const machine = await connectMachine(name, { runtimeDirectory })
const store = await openLocalStore(path)
const binary = await findFirecracker()
const options = { store, runtimeDirectory, binary, name: 'orphan' }
for (const clone of await cloneMachines(machine, Number(count), options)) clone.machine.detach()
process.kill(process.pid, 'SIGKILL')
