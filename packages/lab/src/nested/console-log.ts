import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { labCacheDirectory } from '@varve/guest/testing'

/** A log is a few KB; the last few suffice to look into what went wrong. */
const keptLogs = 20

/**
 * Makes the file for a lab's console. It stays after the lab, as the place to look when something went wrong.
 */
export function newConsoleLog(now: Date = new Date()): string {
  const directory = join(labCacheDirectory(), 'logs')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const old = readdirSync(directory).sort().reverse()
  for (const name of old.slice(keptLogs - 1)) rmSync(join(directory, name), { force: true })
  const path = join(directory, `console-${now.toISOString().replaceAll(':', '')}-${process.pid}.log`)
  closeSync(openSync(path, 'w', 0o600))
  return path
}

/** The last lines of a console, for an error message. */
export function consoleTail(path: string, lines = 5): string {
  try {
    return readFileSync(path, 'utf8').trim().split(/\r*\n/).slice(-lines).join(' | ').slice(-1000)
  } catch {
    return ''
  }
}
