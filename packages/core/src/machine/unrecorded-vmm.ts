import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { fileIdentity, type ProcessIdentity, processIdentity } from '../sys/proc.js'

/**
 * VMMs that no record names with their process, because the process that started them was killed in between.
 * They work in the machine's directory and were given its name, which is its id; any other process that works
 * there is a user's shell.
 */
export function unrecordedVmms(directory: string): ProcessIdentity[] {
  const stat = statSync(directory, { bigint: true, throwIfNoEntry: false })
  if (stat === undefined) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processIdentity(Number(name)))
    .filter((it) => it !== undefined)
    .filter(({ pid }) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')
        const named = words.some((word, index) => word === '--id' && words[index + 1] === basename(directory))
        return named && fileIdentity(statSync(`/proc/${pid}/cwd`, { bigint: true })) === fileIdentity(stat)
      } catch {
        // Ended since, or another user's.
        return false
      }
    })
}
