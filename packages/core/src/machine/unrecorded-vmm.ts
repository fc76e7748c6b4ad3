import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { fileIdentity, type ProcessIdentity, processIdentity } from '../sys/proc.js'

/**
 * VMMs of a machine that is on no record with its process: whoever started it was killed between the two. They work in the machine's
 * directory and were given its name, which is its id; anything else that works there is somebody's shell.
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
