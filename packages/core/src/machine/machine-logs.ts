import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { logName } from '../firecracker/vmm-paths.js'
import { spawnHelper } from '../helper/spawn-helper.js'
import { boundJailLog, boundLog } from '../sys/bounded-log.js'
import { lifeLockAt, lookAtLife } from '../sys/life-lock.js'
import { keepFromAgeing, leaveToAgeing } from './keep-from-ageing.js'
import { readRecord } from './machine-record.js'

/**
 * Interval between two looks. Each byte of a guest's serial port is one exit of the VM and one write(2), at
 * least a microsecond, so at most about a MiB comes between two looks.
 */
export const lookMs = 1000

/**
 * A guest can let the first grow without end by writing, and the others by causing messages.
 */
const logNames = ['console.log', 'stderr.log', logName]

export function boundLogs(directory: string): void {
  for (const name of logNames) boundLog(join(directory, name))
  const jail = readRecord(directory)?.jail
  if (jail) boundJailLog(jail.root, logName, jail.uid)
}

/** Whose machine has this directory. */
const runtimeOf = (machineDirectory: string) => dirname(dirname(machineDirectory))

const owned = new Set<string>()
let timer: NodeJS.Timeout | undefined

/**
 * Bounds the logs of a machine of this process, and keeps its runtime directory from ageing, until the
 * returned function is called. Does not keep the process alive.
 */
export function keepLogsBounded(directory: string): () => void {
  owned.add(directory)
  keepFromAgeing(runtimeOf(directory))
  timer ??= setInterval(() => {
    for (const each of owned) {
      boundLogs(each)
      keepFromAgeing(runtimeOf(each))
    }
  }, lookMs).unref()
  return () => {
    owned.delete(directory)
    const runtime = runtimeOf(directory)
    if (![...owned].some((each) => runtimeOf(each) === runtime)) leaveToAgeing(runtime)
    if (owned.size > 0) return
    clearInterval(timer)
    timer = undefined
  }
}

/** Held by the process that bounds the logs of a runtime directory's detached machines. */
export const logKeeperLock = (runtime: string): string => join(runtime, 'log-keeper.lock')

const program = fileURLToPath(new URL('./log-keeper-main.js', import.meta.url))

/**
 * Starts the log keeper of a runtime directory, unless one is at work: detached machines have no owner that
 * could bound their logs. The caller does not wait for it: if it cannot start, only the bound is missing.
 */
export function ensureLogKeeper(runtime: string): void {
  const lock = lifeLockAt(logKeeperLock(runtime))
  if ((lock !== null && lookAtLife(lock) === 'held') || !existsSync(program)) return
  spawnHelper(program, [runtime], { stdio: 'ignore' })
}
