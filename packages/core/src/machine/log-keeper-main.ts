import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { holdLife } from '../sys/life-lock.js'
import { keepFromAgeing } from './keep-from-ageing.js'
import { boundLogs, logKeeperLock, lookMs } from './machine-logs.js'
import { listMachines } from './runtime-directory.js'

/** A runtime directory without machines needs no keeper; the next `detach()` starts another. */
const idleLooks = 5

/** Each of so many looks ends machines whose VMM has ended: no owner notices that of a detached one. */
const looksToList = 5

const runtime = resolve(process.argv[2] ?? '')
const machines = join(runtime, 'machines')

function machinesThere(): readonly string[] {
  try {
    return readdirSync(machines).filter((name) => !name.startsWith('.'))
  } catch {
    return []
  }
}

/** As every listing does. */
function endStale(): void {
  try {
    listMachines(runtime)
  } catch {
    // The next one tries again; the logs of the others must stay bounded meanwhile.
  }
}

/**
 * Runs until there were no machines for a while; false if another process has the lock, or the directory is
 * gone.
 */
async function keep(): Promise<boolean> {
  let held: ReturnType<typeof holdLife>
  try {
    held = holdLife(logKeeperLock(runtime))
  } catch {
    return false
  }
  if (held === undefined) return false
  for (let look = 1, idle = 0; idle < idleLooks; look++) {
    keepFromAgeing(runtime)
    if (look % looksToList === 0) endStale()
    const names = machinesThere()
    idle = names.length === 0 ? idle + 1 : 0
    for (const name of names) boundLogs(join(machines, name))
    await sleep(lookMs)
  }
  held.release()
  return true
}

// A machine that was detached at the last moment found the lock held and started no keeper, so look again.
while ((await keep()) && machinesThere().length > 0);
