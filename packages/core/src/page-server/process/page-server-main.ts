import { sayWord } from '../../helper/say-word.js'
import { findServedVms } from '../vm/find-served-vms.js'
import { anotherServes, lockServer, lockServerAfter } from './lock-server.js'
import type { PageServerOrder } from './orders.js'
import { holdOwnProgram } from './program-copy.js'
import { runPageServer } from './run-page-server.js'

const { after, ...order } = JSON.parse(process.argv[2] ?? '') as PageServerOrder
// First, so that its thread starts while this one loads koffi and takes the locks.
const server = runPageServer(order)
holdOwnProgram()
if (after === undefined && !lockServer(order.runtime)) await giveWay()
if (after !== undefined) {
  await server.ready()
  sayWord('standing by')
  if (!(await lockServerAfter(order.runtime, after))) await giveWay()
}
// None, if no server was here before; some, if a server left, or was killed together with its guard.
const found = findServedVms(order.runtime, after === undefined ? {} : { before: after })
await server.open({ found })
sayWord('ready')

async function giveWay(): Promise<never> {
  process.stderr.write('another process serves this directory\n')
  await server.stop()
  process.exit(anotherServes)
}
