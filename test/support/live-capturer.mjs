// Captures a machine of another process. Argument: JSON. Says what came of it as a line of JSON.
import { captureSnapshot, connectMachine, openLocalStore } from 'varve'

const { id, runtimeDirectory, store, options, diesInsteadOf } = JSON.parse(process.argv[2])
const machine = await connectMachine(id, { runtimeDirectory })
if (diesInsteadOf) machine.api[diesInsteadOf] = () => process.kill(process.pid, 'SIGKILL')
console.log('connected')
try {
  const { way, lost, entry } = await captureSnapshot(machine, {
    store: await openLocalStore(store),
    ...options,
  })
  console.log(JSON.stringify({ way, lost, id: entry.id }))
} catch ({ code, message }) {
  console.log(JSON.stringify({ code, message }))
}
