import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lifeOfHolder } from '../sys/holder-file.js'

/**
 * Finds copies of disks that should have been removed with their machines: each directory names its VM, and
 * that VM has ended. A directory that names no VM is left alone (it may be of an older version, and in use),
 * unless it is a draft that never got its name.
 */
export async function leftClones(directory: string): Promise<string[]> {
  const paths = (await readdir(directory)).map((name) => join(directory, name))
  return paths.filter((path) => unfinished.test(path) || lifeOfHolder(path) === 'ended')
}

/** As `placeDisks` makes them: if it finds its draft removed, it makes another. */
const unfinished = /\.tmp-[0-9a-f]{12}$/
