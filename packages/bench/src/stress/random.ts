/** Choices that depend on a seed alone (splitmix32): the same seed gives the same worker the same choices. */
export class Random {
  #state: number

  constructor(seed: string) {
    this.#state = hash(seed)
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0
    let mixed = this.#state ^ (this.#state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** Undefined of an empty list. */
  pick<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)]
  }

  /** One of the keys of an object whose values are weights; undefined if all weights are 0. */
  weighted<Name extends string>(weights: Readonly<Partial<Record<Name, number>>>): Name | undefined {
    const all = Object.entries(weights) as [Name, number][]
    let left = this.next() * all.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of all) {
      left -= weight
      if (left < 0) return name
    }
    return undefined
  }
}

/** FNV-1a of the text, 32 bits. */
function hash(text: string): number {
  let found = 0x811c9dc5
  for (const character of text) found = Math.imul(found ^ character.charCodeAt(0), 0x01000193)
  return found
}
