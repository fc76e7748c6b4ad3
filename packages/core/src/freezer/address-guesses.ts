import type { Mapping } from '../sys/mappings.js'

/** A stretch of private, writable memory without a gap, and where its mappings begin and end. */
interface Span {
  readonly start: number
  readonly end: number
  readonly edges: readonly number[]
}

/** Above this many the memory of the VMM is too splintered to try them all. */
const mostGuesses = 65_536

/**
 * Addresses in a VMM at which a region of guest memory could begin, most likely ones first. Neighbouring
 * regions can be one mapping, and one region many mappings, but a region begins or ends where a mapping does,
 * or where another region begins or ends.
 */
export function addressGuesses(
  mappings: readonly Mapping[],
  sizes: readonly number[],
  region: number,
): number[] {
  const size = sizes[region] as number
  const others = sizes.filter((_, index) => index !== region)
  const guesses = new Set<number>()
  for (const { start, end, edges } of spansOf(mappings)) {
    if (end - start < size) continue
    const shifts = [0, ...others]
    const add = (address: number) => {
      if (address >= start && address + size <= end && guesses.size < mostGuesses) guesses.add(address)
    }
    for (const shift of shifts) {
      add(end - size - shift)
      add(start + shift)
    }
    for (const edge of edges)
      for (const shift of shifts) {
        add(edge - size - shift)
        add(edge + shift)
      }
  }
  return [...guesses]
}

function spansOf(mappings: readonly Mapping[]): Span[] {
  const spans: { start: number; end: number; edges: number[] }[] = []
  for (const { start, end, private: isPrivate, writable } of mappings) {
    if (!isPrivate || !writable) continue
    const last = spans.at(-1)
    if (last?.end === start) {
      last.end = end
      last.edges.push(start)
    } else spans.push({ start, end, edges: [] })
  }
  return spans
}
