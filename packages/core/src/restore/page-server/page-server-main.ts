import { findServedVms } from './find-served-vms.js'
import { lockServer } from './lock-server.js'
import { runPageServer } from './run-page-server.js'

/** What the process is to do, as JSON in its first argument. */
export interface PageServerOrder {
  readonly runtime: string
  readonly lingerMs: number
}

const order = JSON.parse(process.argv[2] ?? '') as PageServerOrder
if (lockServer(order.runtime)) {
  // None, as a rule: some are left where a server and its guard were killed together.
  await runPageServer(order).open({ found: findServedVms(order.runtime) })
  process.stdout.write('ready\n')
} else {
  process.stderr.write('another process serves this directory\n')
  process.exitCode = 1
}
