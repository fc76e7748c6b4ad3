import { readSync } from 'node:fs'
import { LineCutter } from './line-cutter.js'

/** Lines of standard input until its end, read by blocking: for helpers that need no event loop. */
export function* standardInputLines(maxLength: number): Generator<string> {
  const lines = new LineCutter(maxLength)
  const decoder = new TextDecoder()
  const buffer = Buffer.alloc(65_536)
  for (let count = readSync(0, buffer); count > 0; count = readSync(0, buffer))
    yield* lines.cut(decoder.decode(buffer.subarray(0, count), { stream: true }))
}
