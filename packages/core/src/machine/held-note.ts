import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { readSmallFile } from '../sys/small-file.js'

const prefix = 'held-for-capture.'
/** `1` or `0`, a space, a pid. */
const maxBytes = 32

/** Where a process notes whether it has the VMM make calls for a live capture; one file for each of them. */
export const heldNotePath = (directory: string, number: number | string): string =>
  join(directory, `${prefix}${number}`)

/**
 * Of a VMM that has ended: why, if a process was killed within such a call; undefined if not. The kernel ends
 * the VMM then, without a word of Firecracker's.
 */
export function endedWhileHeld(directory: string): string | undefined {
  for (const name of namesIn(directory)) {
    if (!name.startsWith(prefix)) continue
    const [, pid] = /^1 (\d+)$/m.exec(textOf(join(directory, name))) ?? []
    if (pid === undefined) continue
    return `process ${pid} was killed while it had Firecracker make calls for a live capture, and the kernel ended both`
  }
  return undefined
}

/** The directory goes with the machine. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function textOf(path: string): string {
  try {
    return readSmallFile(path, maxBytes).toString('latin1')
  } catch {
    return ''
  }
}
