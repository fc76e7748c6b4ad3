/** Choices that depend on a seed alone (splitmix32): the same seed gives the same worker the same choices. */
export class Random {
  #state

  constructor(seed) {
    this.#state = hash(seed)
  }

  /** In [0, 1). */
  next() {
    this.#state = (this.#state + 0x9e3779b9) | 0
    let mixed = this.#state ^ (this.#state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }

  below(limit) {
    return Math.floor(this.next() * limit)
  }

  chance(probability) {
    return this.next() < probability
  }

  /** Undefined of an empty list. */
  pick(list) {
    return list[this.below(list.length)]
  }

  /** One of the keys of an object whose values are weights; undefined if all weights are 0. */
  weighted(weights) {
    const all = Object.entries(weights)
    let left = this.next() * all.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of all) {
      left -= weight
      if (left < 0) return name
    }
    return undefined
  }
}

/** FNV-1a of the text, 32 bits. */
function hash(text) {
  let found = 0x811c9dc5
  for (const character of String(text)) found = Math.imul(found ^ character.charCodeAt(0), 0x01000193)
  return found
}
