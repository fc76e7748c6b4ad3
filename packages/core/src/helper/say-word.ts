import { writeSync } from 'node:fs'

/**
 * Tells the process that started this one what it waits for (`said`). Not by `process.stdout`: to make that
 * stream takes more than a millisecond.
 */
export function sayWord(word: string): void {
  writeSync(1, `${word}\n`)
}
