/** Content for inputs: the same for the same seed, on every machine. */

/** Marsaglia's xorshift of 32 bits (Journal of Statistical Software 8/14, 2003), the shifts 13, 17, 5. */
export function numbers(seed: number): () => number {
  // A state of 0 would stay 0; small seeds are spread out, or their first numbers would be alike.
  let state = Math.imul(seed + 1, 0x9e37_79b1) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state
  }
}

export function bytesOf(seed: number, count: number): Buffer {
  const next = numbers(seed)
  const bytes = Buffer.alloc(count)
  for (let i = 0; i < count; i++) bytes[i] = next() >>> 24
  return bytes
}

const words =
  'silt clay sand gravel loam marl chalk shale slate varve lake melt spring frost summer layer'.split(' ')

/** Text of exactly so many bytes, which compresses about as text does. */
export function textOf(seed: number, count: number): string {
  const next = numbers(seed)
  let text = ''
  while (text.length < count) {
    const word = words[next() % words.length] as string
    text += next() % 5 === 0 ? `${word}${next() % 1000}.\n` : `${word} `
  }
  return text.slice(0, count)
}

export interface Order {
  readonly sku: string
  readonly quantity: number
  readonly cents: number
}

/** Names have what has to be escaped in HTML. */
export function ordersOf(seed: number, count: number): Order[] {
  const next = numbers(seed)
  const kinds = ['', '<fine>', '& co.', '"raw"', "o'clock"]
  return Array.from({ length: count }, () => ({
    sku: `${words[next() % words.length]} ${kinds[next() % kinds.length]}`.trim(),
    quantity: 1 + (next() % 9),
    cents: 100 + (next() % 50_000),
  }))
}
