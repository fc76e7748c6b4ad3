import type { ByteReader } from './byte-reader.js'
import type { ByteWriter } from './byte-writer.js'

/**
 * The buffers of bitcode 0.6.9, see docs/formats/firecracker-state-file.md. Readers take the number
 * of values, which the caller has bounded; they accept every packing. Writers choose as bitcode
 * does, so that bytes stay the same.
 */

/**
 * By packing byte halved and rounded up: how many values a digit tells apart,
 * and how many digits a byte holds.
 */
const digits = [
  { base: 256, perByte: 1 },
  { base: 16, perByte: 2 },
  { base: 6, perByte: 3 },
  { base: 4, perByte: 4 },
  { base: 3, perByte: 5 },
  { base: 2, perByte: 8 },
] as const
type Digit = (typeof digits)[number]

/** Up to this many values bitcode does not consider subtracting the minimum. */
const minOffsetAbove = 5
/** A bytes buffer of up to this many values is raw. */
const rawBytesUpTo = 2
/** A length byte of this value means: see the list of long lengths. */
const longLength = 255

export function readBytes(reader: ByteReader, count: number, what: string): Uint8Array {
  if (count <= rawBytesUpTo) return reader.slice(count, what)
  const at = reader.position
  const packing = reader.u8(what)
  const digit = digits[(packing + 1) >> 1]
  if (digit === undefined) return reader.fail(what, `packing ${packing} is not known`, at)
  const minimum = packing % 2 === 1 ? reader.u8(what) : 0
  const packed = reader.slice(Math.ceil(count / digit.perByte), what)
  if (digit.base === 256) return packed
  const values = new Uint8Array(count)
  let rest = 0
  for (let i = 0; i < count; i++) {
    if (i % digit.perByte === 0) rest = packed[i / digit.perByte] as number
    values[i] = (rest % digit.base) + minimum
    rest = Math.floor(rest / digit.base)
  }
  return values
}

/** Width in bytes of a u64 buffer's values, by packing byte halved and rounded up. */
const widths = [8, 4, 2, 1] as const

export function readU64s(reader: ByteReader, count: number, what: string): number[] {
  if (count === 0) return []
  const at = reader.position
  const packing = reader.u8(what)
  const width = widths[(packing + 1) >> 1]
  if (width === undefined) return reader.fail(what, `packing ${packing} is not known`, at)
  const minimum = packing % 2 === 1 ? reader.bigU64(what) : undefined
  // The whole buffer must be there before a number is made of it.
  if (width > 1 && count * width > reader.remaining)
    return reader.fail(what, `needs ${count * width} bytes, ${reader.remaining} are left`)
  const bytes = width === 1 ? readBytes(reader, count, what) : undefined
  const values = new Array<number>(count)
  for (let i = 0; i < count; i++) {
    let value: number
    if (bytes) value = bytes[i] as number
    else value = width === 8 ? reader.u64(what) : width === 4 ? reader.u32(what) : reader.u16(what)
    if (minimum !== undefined) {
      const sum = BigInt.asUintN(64, minimum + BigInt(value))
      if (sum > BigInt(Number.MAX_SAFE_INTEGER)) return reader.fail(what, 'is beyond 2^53 - 1', at)
      value = Number(sum)
    }
    values[i] = value
  }
  return values
}

export function readBools(reader: ByteReader, count: number, what: string): boolean[] {
  const packed = reader.slice(Math.ceil(count / 8), what)
  return Array.from({ length: count }, (_, i) => (((packed[i >> 3] as number) >> (i & 7)) & 1) === 1)
}

/** Lengths of sequences or strings; none may be above `max`. */
export function readLengths(reader: ByteReader, count: number, max: number, what: string): number[] {
  const at = reader.position
  const short = readBytes(reader, count, what)
  const long = readU64s(reader, short.filter((it) => it === longLength).length, what)
  let next = 0
  const lengths = Array.from(short, (it) => (it === longLength ? (long[next++] as number) : it))
  for (const length of lengths) if (length > max) reader.fail(what, `${length} is above ${max}`, at)
  return lengths
}

export function readText(reader: ByteReader, what: string): string {
  const [length] = readLengths(reader, 1, reader.remaining, what) as [number]
  return reader.text(length, what)
}

function digitFor(max: number): Digit {
  for (let i = digits.length - 1; i > 0; i--) {
    const digit = digits[i] as Digit
    if (max < digit.base) return digit
  }
  return digits[0]
}

export function writeBytes(writer: ByteWriter, values: ArrayLike<number>): void {
  if (values.length <= rawBytesUpTo) {
    writer.put(Uint8Array.from(values))
    return
  }
  const { min, max } = range(values)
  const plain = digitFor(max)
  const offset = digitFor(max - min)
  const subtract = values.length > minOffsetAbove && offset.base < plain.base
  const digit = subtract ? offset : plain
  writer.u8(digits.indexOf(digit) * 2 - (subtract ? 1 : 0))
  if (subtract) writer.u8(min)
  const base = subtract ? min : 0
  for (let i = 0; i < values.length; i += digit.perByte) {
    let packed = 0
    for (let j = Math.min(i + digit.perByte, values.length) - 1; j >= i; j--)
      packed = packed * digit.base + ((values[j] as number) - base)
    writer.u8(packed)
  }
}

const widthFor = (max: number): (typeof widths)[number] =>
  max < 2 ** 8 ? 1 : max < 2 ** 16 ? 2 : max < 2 ** 32 ? 4 : 8

export function writeU64s(writer: ByteWriter, values: readonly number[]): void {
  if (values.length === 0) return
  const { min, max } = range(values)
  const plain = widthFor(max)
  const offset = widthFor(max - min)
  const subtract = values.length > minOffsetAbove && offset < plain
  const width = subtract ? offset : plain
  writer.u8(widths.indexOf(width) * 2 - (subtract ? 1 : 0))
  if (subtract) writer.u64(min)
  const digitsOnly = subtract ? values.map((it) => it - min) : values
  if (width === 1) writeBytes(writer, digitsOnly)
  else if (width === 2) for (const value of digitsOnly) writer.u16(value)
  else if (width === 4) for (const value of digitsOnly) writer.u32(value)
  else for (const value of digitsOnly) writer.u64(value)
}

export function writeBools(writer: ByteWriter, values: readonly boolean[]): void {
  const packed = new Uint8Array(Math.ceil(values.length / 8))
  for (const [i, value] of values.entries())
    if (value) packed[i >> 3] = (packed[i >> 3] as number) | (1 << (i & 7))
  writer.put(packed)
}

export function writeLengths(writer: ByteWriter, lengths: readonly number[]): void {
  writeBytes(
    writer,
    lengths.map((it) => Math.min(it, longLength)),
  )
  writeU64s(
    writer,
    lengths.filter((it) => it >= longLength),
  )
}

function range(values: ArrayLike<number>): { min: number; max: number } {
  let min = Number.MAX_SAFE_INTEGER
  let max = 0
  for (let i = 0; i < values.length; i++) {
    min = Math.min(min, values[i] as number)
    max = Math.max(max, values[i] as number)
  }
  return { min, max }
}
