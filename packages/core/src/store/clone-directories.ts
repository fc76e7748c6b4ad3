import { lstatSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lifeOfHolder } from '../sys/holder-file.js'

interface LeftClones {
  /** Of VMs that have ended, and directories that never got their names. */
  readonly ended: readonly string[]
  /** Without a file that says whose they are: an older version made them, and its VM may still be running. */
  readonly unknown: readonly string[]
}

/** Copies of disks that should have gone with their machines, or perhaps should have. */
export async function leftClones(directory: string): Promise<LeftClones> {
  const ended: string[] = []
  const unknown: string[] = []
  for (const name of await readdir(directory)) {
    const path = join(directory, name)
    const life = unfinished.test(name) ? 'ended' : lifeOfHolder(path)
    if (life === 'ended') ended.push(path)
    // A machine that ended after the directory was listed has taken its own away.
    else if (life === 'unknown' && lstatSync(path, { throwIfNoEntry: false })) unknown.push(path)
  }
  return { ended, unknown: unknown.sort() }
}

/** As `placeDisks` makes them: if it finds its draft removed, it makes another. */
const unfinished = /\.tmp-[0-9a-f]{12}$/
