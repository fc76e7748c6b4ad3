import { readdirSync, readFileSync } from 'node:fs'
import type { RunningMachine } from 'varve'

/** Of captures that are over there must be none of these. */
export interface Left {
  /** Helper processes of this process. */
  readonly freezers: number
  /** Twins and frozen children: processes with the VMM's command line. */
  readonly frozen: number
  /** Files of captures in the machine's directory. */
  readonly liveFiles: number
}

/** What there is of live captures of a machine by this process at this moment. */
export function leftOf({ pid, paths }: RunningMachine): Left {
  const own = textOf(pid, 'cmdline')
  let [freezers, frozen] = [0, 0]
  for (const other of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = textOf(Number(other), 'cmdline')
    if (command === own && Number(other) !== pid) frozen++
    const isChild = new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(textOf(Number(other), 'status'))
    if (isChild && command.includes('freezer-main')) freezers++
  }
  const files = readdirSync(paths.directory).filter((name) => /^(?:live-|owed-pages\.|rehearsal)/.test(name))
  return { freezers, frozen, liveFiles: files.length }
}

function textOf(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}
