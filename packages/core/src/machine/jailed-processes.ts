import { readdirSync, statSync } from 'node:fs'
import { killProcess } from '../sys/pidfd.js'
import { fileIdentity, type ProcessIdentity, processIdentity } from '../sys/proc.js'

/**
 * Every process whose root directory is the root of a jail: its VMM, also one that no record names, and
 * processes that the VMM started after it was taken over. None of them has another way out of the jail.
 */
function jailedProcesses(jailRoot: string): ProcessIdentity[] {
  const root = identityOf(jailRoot)
  if (root === undefined) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && identityOf(`/proc/${name}/root`) === root)
    .map((name) => processIdentity(Number(name)))
    .filter((it) => it !== undefined)
}

/**
 * SIGKILLs all of them but `spared`, and returns how many there were. Repeat the call until there are none:
 * they may start others meanwhile.
 */
export function killJailed(jailRoot: string, spared: readonly ProcessIdentity[] = []): number {
  const isSpared = (it: ProcessIdentity) =>
    spared.some(({ pid, startTime }) => it.pid === pid && it.startTime === startTime)
  const found = jailedProcesses(jailRoot).filter((it) => !isSpared(it))
  for (const process of found) killProcess(process, 'SIGKILL')
  return found.length
}

/** Undefined if there is no such directory, or its process has ended or is another user's. */
function identityOf(path: string): string | undefined {
  try {
    return fileIdentity(statSync(path, { bigint: true }))
  } catch {
    return undefined
  }
}
