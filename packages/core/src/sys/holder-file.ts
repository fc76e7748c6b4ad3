import { join } from 'node:path'
import { type Holder, holderFromJson, holderLives } from './holder.js'
import { replaceSmallFile } from './mutations.js'
import { readSmallFile } from './small-file.js'

/** A file in a directory that names the process to which the directory belongs. */
const holderFileName = '.varve-holder.json'

/** Synchronous. Call it before the directory gets its final name. */
export function writeHolder(directory: string, holder: Holder): void {
  const path = join(directory, holderFileName)
  replaceSmallFile(path, `${path}.tmp`, Buffer.from(JSON.stringify(holder)))
}

/** `unknown`: the directory has no such file, or the file cannot be read. */
export function lifeOfHolder(directory: string): 'lives' | 'ended' | 'unknown' {
  let value: unknown
  try {
    value = JSON.parse(readSmallFile(join(directory, holderFileName), 16 * 1024).toString('utf8'))
  } catch {
    return 'unknown'
  }
  const holder = holderFromJson(value)
  if (holder === undefined) return 'unknown'
  return holderLives(holder) ? 'lives' : 'ended'
}
