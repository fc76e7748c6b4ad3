import { readdirSync, statSync } from 'node:fs'
import { fileIdentity, type ProcessIdentity, processIdentity } from '../sys/proc.js'

/**
 * Every process whose root directory is the root of a jail: its VMM, also one that no record names, and
 * processes that the VMM started after it was taken over. None of them has another way out of the jail.
 */
export function jailedProcesses(jailRoot: string): ProcessIdentity[] {
  const root = identityOf(jailRoot)
  if (root === undefined) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && identityOf(`/proc/${name}/root`) === root)
    .map((name) => processIdentity(Number(name)))
    .filter((it) => it !== undefined)
}

/** Undefined if there is no such directory, or its process has ended or is another user's. */
function identityOf(path: string): string | undefined {
  try {
    return fileIdentity(statSync(path, { bigint: true }))
  } catch {
    return undefined
  }
}
