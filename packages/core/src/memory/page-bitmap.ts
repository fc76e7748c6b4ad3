import { pageSetFromRuns } from './make-page-set.js'
import { type PageRun, type PageSet, runsOf } from './page-set.js'

/**
 * Pages as bits: bit b of word w is page `first` + 32 w + b. Only a means to compute with: if a set is
 * nothing but short runs, a step a word is several times faster than a step a run, and its time does not
 * depend on how the runs lie.
 */
export interface PageBitmap {
  readonly first: number
  readonly words: Int32Array
}

/**
 * The most pages a run (all sets' runs together) at which two sets are combined as bitmaps, times half the
 * number of sets: more sets share the cost of going through the words. Measured, docs/results/sets.md: two
 * sets cost the same both ways at 8, and half with bitmaps at 2.
 */
const densePagesPerRun = 8

/** Bounds the memory: a bitmap is then never larger than the runs (8 bytes each) that it is for. */
export const mostPagesPerRun = 64

/** Below this many runs any way takes microseconds. */
const denseRuns = 1024

/**
 * An empty bitmap that can hold all of `sets`, or undefined if their runs are so few that a step a run is
 * quicker: if a run comes less often than every `pagesPerRun` pages.
 */
export function bitmapFor(
  sets: readonly PageSet[],
  pagesPerRun = (densePagesPerRun * sets.length) / 2,
): PageBitmap | undefined {
  let runs = 0
  let first = Number.POSITIVE_INFINITY
  let end = 0
  for (const { starts, counts } of sets) {
    const last = starts.length - 1
    if (last < 0) continue
    runs += starts.length
    first = Math.min(first, starts[0] as number)
    end = Math.max(end, (starts[last] as number) + (counts[last] as number))
  }
  if (runs < denseRuns || end - first > runs * Math.min(pagesPerRun, mostPagesPerRun)) return undefined
  return emptyBitmap(first, end - first)
}

export function emptyBitmap(first: number, pages: number): PageBitmap {
  return { first, words: new Int32Array(Math.ceil(pages / 32)) }
}

/** Sets the bits of a set that lies within the bitmap. */
export function setBits({ first, words }: PageBitmap, { starts, counts }: PageSet): void {
  // The word at hand stays in a register: most runs end in the word in which the one before did.
  let at = 0
  let bits = 0
  for (let i = 0; i < starts.length; i++) {
    const start = (starts[i] as number) - first
    const count = counts[i] as number
    const word = start >>> 5
    const bit = start & 31
    if (word !== at) {
      words[at] = (words[at] as number) | bits
      at = word
      bits = 0
    }
    if (bit + count < 32) bits |= ((1 << count) - 1) << bit
    else {
      const end = start + count
      words[word] = (words[word] as number) | bits | (-1 << bit)
      at = end >>> 5
      // A call that most runs do not need: they reach the next word at most.
      if (at > word + 1) words.fill(-1, word + 1, at)
      bits = ~(-1 << (end & 31))
    }
  }
  if (bits !== 0) words[at] = (words[at] as number) | bits
}

/** How many runs the set of these bits has. */
export function countRuns({ words }: PageBitmap): number {
  let runs = 0
  let carry = 0
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number
    runs += countBits(word & ~((word << 1) | carry))
    carry = word >>> 31
  }
  return runs
}

function countBits(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555)
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

export function pageSetFromBitmap(bitmap: PageBitmap): PageSet {
  const { first, words } = bitmap
  const runs = countRuns(bitmap)
  const starts = new Uint32Array(runs)
  const counts = new Uint32Array(runs)
  let begun = 0
  let ended = 0
  let pages = 0
  let carry = 0
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number
    // Bit b of `before` is the page before page b: a run begins, or has ended, where the two differ.
    const before = (word << 1) | carry
    carry = word >>> 31
    let begins = word & ~before
    let ends = before & ~word
    const highest = first + 32 * i + 31
    while (begins !== 0) {
      starts[begun++] = highest - Math.clz32(begins & -begins)
      begins &= begins - 1
    }
    while (ends !== 0) {
      const count = highest - Math.clz32(ends & -ends) - (starts[ended] as number)
      counts[ended++] = count
      pages += count
      ends &= ends - 1
    }
  }
  if (ended < begun) {
    const count = first + 32 * words.length - (starts[ended] as number)
    counts[ended] = count
    pages += count
  }
  return { starts, counts, pages }
}

const stretchBytes = 4096
const zeros = Buffer.alloc(stretchBytes)

/**
 * The set of these bits if it has at most `most` pages, else undefined. For a bitmap that is mostly zero, and
 * a process that does this once: until code is compiled, a step a word takes 100 ns, 6 ms for 8 GiB of
 * memory; this compares whole stretches with zero.
 */
export function fewPagesOf({ first, words }: PageBitmap, most: number): PageSet | undefined {
  const bytes = Buffer.from(words.buffer, words.byteOffset, words.byteLength)
  const runs: PageRun[] = []
  let pages = 0
  for (let at = 0; at < bytes.length; at += stretchBytes) {
    const end = Math.min(at + stretchBytes, bytes.length)
    if (bytes.compare(zeros, 0, end - at, at, end) === 0) continue
    const set = pageSetFromBitmap({ first: first + 8 * at, words: words.subarray(at / 4, end / 4) })
    pages += set.pages
    if (pages > most) return undefined
    for (const run of runsOf(set)) runs.push(run)
  }
  return pageSetFromRuns(runs)
}
