import { writeCrc } from 'varve/state-files'
import type { Random } from './random.js'

/** What the parser reads lies at the beginning: most mutations go there. */
const prefixBytes = 400
const tailBytes = 48

/** Values that sit at the edges of counts, tags and sizes. */
const numbers = [
  0n,
  1n,
  2n,
  5n,
  255n,
  256n,
  4096n,
  65_535n,
  65_536n,
  65_537n,
  2n ** 20n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 52n,
  2n ** 53n - 4096n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
]
const versions = ['1.0.0', '2.0.0', '3.0.0', '5.0.0', '6.0.0', '7.0.0', '8.0.0', '9.0.0', '8.0.9', '8.1.0']

type Mutation = (bytes: Uint8Array, random: Random, seeds: readonly Uint8Array[]) => Uint8Array

const place = (bytes: Uint8Array, random: Random): number =>
  random.below(random.below(8) === 0 ? bytes.length : Math.min(bytes.length, prefixBytes))

const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

const mutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const at = place(bytes, random)
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
    return bytes
  },
  function setByte(bytes, random) {
    bytes[place(bytes, random)] = random.pick([
      0,
      1,
      2,
      3,
      5,
      6,
      9,
      11,
      127,
      128,
      254,
      255,
      random.below(256),
    ])
    return bytes
  },
  function setNumber(bytes, random) {
    const width = random.pick([2, 4, 8])
    const at = place(bytes, random)
    if (at + width > bytes.length) return bytes
    const value = Buffer.alloc(8)
    value.writeBigUInt64LE(
      random.below(4) === 0 ? BigInt(random.below(bytes.length * 2)) : random.pick(numbers),
    )
    bytes.set(value.subarray(0, width), at)
    return bytes
  },
  function setVersion(bytes, random) {
    const at = bytes[0] === 0 && bytes[1] === 0 && bytes[2] === 0 ? 10 : 16
    if (at + 5 <= bytes.length) bytes.set(Buffer.from(random.pick(versions)), at)
    return bytes
  },
  function truncate(bytes, random) {
    return bytes.slice(0, place(bytes, random))
  },
  function insert(bytes, random) {
    const at = place(bytes, random)
    const from = place(bytes, random)
    const extra = bytes.subarray(from, from + random.below(40))
    return join(bytes.subarray(0, at), extra, bytes.subarray(at))
  },
  function remove(bytes, random) {
    const at = place(bytes, random)
    return join(bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(24)))
  },
  function splice(bytes, random, seeds) {
    const other = random.pick(seeds)
    return join(bytes.subarray(0, place(bytes, random)), other.subarray(place(other, random)))
  },
]

/**
 * One to four mutations of a random seed, the CRC right in 15 of 16. Most seeds are cut to what the parser
 * reads, so that the time goes there and not into the CRC.
 */
export function mutate(seeds: readonly Uint8Array[], random: Random): Uint8Array {
  const seed = random.pick(seeds)
  let bytes =
    random.below(32) === 0 || seed.length < prefixBytes + tailBytes
      ? seed.slice()
      : join(seed.subarray(0, prefixBytes), seed.subarray(-tailBytes))
  for (let left = 1 + random.below(4); left > 0 && bytes.length > 0; left--)
    bytes = random.pick(mutations)(bytes, random, seeds)
  if (bytes.length >= 8 && random.below(16) !== 0) writeCrc(bytes)
  return bytes
}
