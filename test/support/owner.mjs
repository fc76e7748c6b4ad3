// Starts a VM, prints who it is, and waits to be ended by the test.
import { launchMachine } from 'varve'

const machine = await launchMachine()
console.log(JSON.stringify({ vm: machine.identity, directory: machine.paths.directory }))
setInterval(() => {}, 1000)
