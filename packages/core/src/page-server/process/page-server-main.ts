import { findServedVms } from '../vm/find-served-vms.js'
import { anotherServes, lockServer, lockServerAfter } from './lock-server.js'
import type { PageServerOrder } from './orders.js'
import { holdOwnProgram } from './program-copy.js'
import { runPageServer } from './run-page-server.js'

holdOwnProgram()

const { after, ...order } = JSON.parse(process.argv[2] ?? '') as PageServerOrder
if (after === undefined && !lockServer(order.runtime)) giveWay()
else {
  const server = runPageServer(order)
  if (after !== undefined) {
    await server.ready()
    process.stdout.write('standing by\n')
    if (!(await lockServerAfter(order.runtime, after))) {
      giveWay()
      await server.stop()
      process.exit()
    }
  }
  // None, if no server was here before; some, if a server left, or was killed together with its guard.
  const found = findServedVms(order.runtime, after === undefined ? {} : { before: after })
  await server.open({ found })
  process.stdout.write('ready\n')
}

function giveWay(): void {
  process.stderr.write('another process serves this directory\n')
  process.exitCode = anotherServes
}
