import { VarveError } from '../../errors.js'
import { emptyBitmap, type PageBitmap, pageSetFromBitmap } from '../../memory/page-bitmap.js'
import { emptyPageSet, type PageSet } from '../../memory/page-set.js'
import { framePages } from '../../memory/units.js'
import type { FaultTrace } from '../../working-set/recording.js'
import type { RecordedFaults } from './fault-record.js'

/** The answer on the control socket: sets and lists as the bytes of their 32-bit words in base64. */
export function recordedToJson(
  { pages, timesUs, truncated, touched, written, wanted, unitPages, windowUs }: RecordedFaults,
  changed: PageBitmap,
) {
  return {
    pages: base64(pages),
    timesUs: base64(timesUs),
    truncated,
    unitPages,
    windowUs,
    touched: base64(touched.words),
    written: written && base64(combine(written, changed, (a, b) => a | b)),
    unchanged: written && wanted && base64(combine(combined(wanted, written), changed, (a, b) => a & ~b)),
  }
}

/** Pages that are in `a` and not in `b`. */
const combined = (a: PageBitmap, b: PageBitmap): PageBitmap => ({
  first: 0,
  words: combine(a, b, (x, y) => x & ~y),
})

function combine(a: PageBitmap, b: PageBitmap, operation: (a: number, b: number) => number): Int32Array {
  return a.words.map((word, index) => operation(word, b.words[index] as number))
}

function base64({ buffer, byteOffset, byteLength }: Int32Array | Uint32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64')
}

export function recordedFromJson(value: unknown, imagePages: number): FaultTrace {
  const it = value as Record<string, unknown>
  const bytes = (name: string) => {
    const text = it[name]
    if (typeof text !== 'string') throw broken(`${name} is not text`)
    const read = Buffer.from(text, 'base64')
    if (read.length % 4 !== 0) throw broken(`${name} has ${read.length} bytes`)
    return read
  }
  const list = (name: string) => {
    const read = bytes(name)
    const words = new Uint32Array(read.length / 4)
    read.copy(new Uint8Array(words.buffer))
    return words
  }
  const set = (name: string): PageSet => {
    const bitmap = emptyBitmap(0, imagePages)
    const read = bytes(name)
    if (read.length !== bitmap.words.byteLength) throw broken(`${name} has ${read.length} bytes`)
    read.copy(new Uint8Array(bitmap.words.buffer))
    return read.length === 0 ? emptyPageSet : pageSetFromBitmap(bitmap)
  }
  // A server that serves no huge pages does not say it.
  const { windowUs, unitPages = 1 } = it
  if (typeof windowUs !== 'number' || !(windowUs >= 0))
    throw broken(`windowUs is ${JSON.stringify(windowUs)}`)
  if (unitPages !== 1 && unitPages !== framePages) throw broken(`unitPages is ${JSON.stringify(unitPages)}`)
  const [pages, timesUs] = [list('pages'), list('timesUs')]
  if (pages.length !== timesUs.length) throw broken(`${pages.length} pages and ${timesUs.length} times`)
  return {
    pages,
    timesUs,
    truncated: it.truncated === true,
    unitPages,
    windowMs: windowUs / 1000,
    touched: set('touched'),
    written: it.written === null ? null : set('written'),
    unchanged: it.unchanged === null ? null : set('unchanged'),
  }
}

const broken = (detail: string) => new VarveError('PAGE_SERVER_PROTOCOL', `answer to "recorded": ${detail}`)
