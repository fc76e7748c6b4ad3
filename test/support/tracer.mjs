// Traces a process until its standard input ends. Argument: the process, as JSON.
import { Tracee } from 'varve/testing'

const tracee = Tracee.seize(JSON.parse(process.argv[2]))
console.log('traces')
process.stdin.resume().once('end', () => {
  tracee.interrupt()
  tracee.wait()
  tracee.detach()
})
