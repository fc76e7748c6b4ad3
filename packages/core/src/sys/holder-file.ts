import { join } from 'node:path'
import { type Holder, holderFromJson, holderLives } from './holder.js'
import { replaceSmallFile } from './mutations.js'
import { readSmallFile } from './small-file.js'

/** Says in a directory which process the directory belongs to. */
export const holderFileName = '.varve-holder.json'

/** Synchronous, and before the directory gets the name that others look for. */
export function writeHolder(directory: string, holder: Holder): void {
  const path = join(directory, holderFileName)
  replaceSmallFile(path, `${path}.tmp`, Buffer.from(JSON.stringify(holder)))
}

/** `unknown`: the directory does not say whose it is, or not in a way that can be read. */
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
