import { pageSizeBytes, VarveError } from 'varve'

/** 64-bit words in a page of 4,096 bytes. */
export const wordsPerPage = 512

/**
 * Odd, so that multiplying by it modulo 2^64 loses nothing: a word tells its page
 * and seed. 2^64 / golden ratio.
 */
export const mixFactor = 0x9e37_79b9_7f4a_7c15n
/** Multiplier of the order generator (Numerical Recipes); 1 modulo 4, as a full period needs. */
export const orderFactor = 1_664_525

const maxUint32 = 2 ** 32 - 1

/** Pages `start`, `start + stride`, … , `count` of them, each touched once. */
export interface TouchPattern {
  /** Page number in memory-file order, 512 (2 MiB) or more. */
  readonly start: number
  readonly count: number
  /** Default 1. */
  readonly stride?: number
  /** 0 or absent: ascending. Else the seed of a pseudo-random order, below 2^32. */
  readonly order?: number
}

/** How many words of a page are written or checked, at equal distances from offset 0 on. */
export type WordCount = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128 | 256 | 512

/** The 64-bit value that identifies page and seed: `(page × 2^32 + seed) × mixFactor` modulo 2^64. */
export function pageWord(page: number, seed: number): bigint {
  return BigInt.asUintN(64, ((BigInt(page) << 32n) | BigInt(seed)) * mixFactor)
}

/** The page and seed that a word stands for: says where misplaced content came from. */
export function decodePageWord(word: bigint): { page: number; seed: number } {
  const plain = BigInt.asUintN(64, word * mixInverse)
  return { page: Number(plain >> 32n), seed: Number(plain & 0xffff_ffffn) }
}

/**
 * Inverse of mixFactor modulo 2^64, by Newton's iteration: each step doubles
 * the number of right bits, from 3.
 */
const mixInverse = [1, 2, 3, 4, 5].reduce(
  (inverse) => BigInt.asUintN(64, inverse * (2n - mixFactor * inverse)),
  mixFactor,
)

/**
 * The bytes of a page after `fill` (or `write`) with this seed. With fewer than 512 words the others keep
 * what `before` holds (zeros if absent); word i lies at offset i × 4096 / words.
 */
export function expectedPage(
  page: number,
  seed: number,
  options: { readonly words?: WordCount; readonly before?: Uint8Array } = {},
): Uint8Array {
  const bytes = new Uint8Array(pageSizeBytes)
  if (options.before !== undefined) bytes.set(options.before)
  const view = new DataView(bytes.buffer)
  const word = pageWord(page, seed)
  const step = pageSizeBytes / (options.words ?? wordsPerPage)
  for (let at = 0; at < pageSizeBytes; at += step) view.setBigUint64(at, word, true)
  return bytes
}

/** The pages of a pattern in the order in which the guest touches them. */
export function touchedPages(pattern: TouchPattern): number[] {
  const { start, count, stride, order } = checkedPattern(pattern)
  if (order === 0) return Array.from({ length: count }, (_, index) => start + index * stride)
  const pages: number[] = []
  const bits = count <= 1 ? 0 : 32 - Math.clz32(count - 1)
  const mask = 2 ** bits - 1
  const half = (bits + 1) >> 1
  const increment = 2 * order + 1
  let state = order % (mask + 1)
  while (pages.length < count) {
    // Low bits of a product and a sum depend on low bits only, so 32-bit arithmetic is enough.
    state = (Math.imul(state, orderFactor) + increment) & mask
    const index = state ^ (state >>> half)
    if (index < count) pages.push(start + index * stride)
  }
  return pages
}

/** The same pattern with its defaults filled in, or INVALID_ARGUMENT. */
export function checkedPattern(pattern: TouchPattern): Required<TouchPattern> {
  const { start, count, stride = 1, order = 0 } = pattern
  const last = start + Math.max(count - 1, 0) * stride
  const whole = [start, count, stride, order].every((value) => Number.isInteger(value) && value >= 0)
  // 2^30 pages are 4 TiB, far beyond what the guest can map.
  if (!whole || stride < 1 || order > maxUint32 || last >= 2 ** 30)
    throw new VarveError('INVALID_ARGUMENT', `touch pattern ${JSON.stringify(pattern)} is out of range`)
  return { start, count, stride, order }
}

export function checkedSeed(seed: number): number {
  if (Number.isInteger(seed) && seed >= 0 && seed <= maxUint32) return seed
  throw new VarveError('INVALID_ARGUMENT', `seed ${seed} is not an integer in [0, 2^32)`)
}

/** The guest's `sum` over whole pages: each word in turn is added to the last sum rotated left by one bit. */
export function sumOfPages(pages: Iterable<Uint8Array>): bigint {
  let sum = 0n
  for (const page of pages) {
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
    for (let at = 0; at < page.byteLength; at += 8)
      sum = BigInt.asUintN(64, (sum << 1n) + (sum >> 63n) + view.getBigUint64(at, true))
  }
  return sum
}
