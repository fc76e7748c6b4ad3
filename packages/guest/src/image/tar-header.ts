import type { VarveError } from 'varve'
import { maxAttributeBytes, maxAttributes } from './image-limits.js'

/**
 * Headers of tar archives: ustar, pax (POSIX.1-2024, pax(1)) and GNU (GNU tar manual, "Basic Tar Format").
 * Names and values of attributes are bytes. The libraries for tar decode pax records as UTF-8, which destroys
 * `SCHILY.xattr.security.capability`.
 */

export const blockBytes = 512

export type TarKind = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo'

/** Bytes as a string of code units 0–255: exact, a key of a map, and in the order of the bytes. */
export type ByteString = string

/** For messages. */
export const shown = (bytes: ByteString): string =>
  JSON.stringify(Buffer.from(bytes.slice(0, 200), 'latin1').toString('utf8'))

export interface RawHeader {
  readonly type: string
  readonly name: ByteString
  readonly linkName: ByteString
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly sizeBytes: number
  readonly mtime: number
  readonly major: number
  readonly minor: number
}

const kinds: Readonly<Record<string, TarKind>> = {
  '0': 'file',
  '\0': 'file',
  // "Contiguous" files; readers that do not know them take them for files.
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
}

export const kindOf = (type: string): TarKind | undefined => kinds[type]

/** One block; undefined if it is all zeros, which ends an archive. */
export function parseHeader(block: Buffer, fail: (what: string) => VarveError): RawHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined
  const number = (what: string, from: number, to: number) => parseNumber(block.subarray(from, to), what, fail)
  if (number('checksum', 148, 156) !== checksum(block)) throw fail('the checksum of a header does not fit')
  const text = (from: number, to: number): ByteString => {
    const end = block.subarray(from, to).indexOf(0)
    return block.toString('latin1', from, end < 0 ? to : from + end)
  }
  // "ustar\0" is POSIX; GNU's "ustar  " has times where POSIX has the prefix.
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? text(345, 500) : ''
  return {
    type: String.fromCharCode(block[156] as number),
    name: prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`,
    mode: number('mode', 100, 108),
    uid: number('uid', 108, 116),
    gid: number('gid', 116, 124),
    sizeBytes: number('size', 124, 136),
    mtime: number('mtime', 136, 148),
    linkName: text(157, 257),
    major: number('devmajor', 329, 337),
    minor: number('devminor', 337, 345),
  }
}

/** All bytes as unsigned numbers, those of the checksum itself as spaces. */
function checksum(block: Buffer): number {
  let sum = 8 * 32
  for (let i = 0; i < blockBytes; i++) if (i < 148 || i >= 156) sum += block[i] as number
  return sum
}

/** Octal digits, or GNU's binary form: the top bit of the first byte set, big-endian, two's complement. */
function parseNumber(field: Buffer, what: string, fail: (what: string) => VarveError): number {
  const first = field[0] as number
  if ((first & 0x80) !== 0) {
    const bytes = Buffer.from(field)
    const negative = (first & 0x40) !== 0
    if (!negative) bytes[0] = first & 0x7f
    const value = BigInt.asIntN(96, BigInt(`0x${bytes.toString('hex')}`) << BigInt(96 - bytes.length * 8))
    const number = Number(value >> BigInt(96 - bytes.length * 8))
    if (!Number.isSafeInteger(number)) throw fail(`${what} is out of range`)
    return number
  }
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim()
  if (text === '') return 0
  if (!/^[0-7]{1,12}$/.test(text)) throw fail(`${what} is ${shown(text)}, no octal number`)
  return Number.parseInt(text, 8)
}

/** "LENGTH KEY=VALUE\n", LENGTH counting all of it. Values are bytes and may hold any of them. */
export function paxRecords(bytes: Buffer, fail: (what: string) => VarveError): Map<string, Buffer> {
  const records = new Map<string, Buffer>()
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    const digits = space < 0 ? '' : bytes.toString('latin1', at, space)
    const end = /^\d{1,8}$/.test(digits) ? at + Number(digits) : Number.NaN
    const equals = bytes.indexOf(0x3d, space)
    if (!(end <= bytes.length) || equals < 0 || equals >= end || bytes[end - 1] !== 0x0a)
      throw fail('a pax record does not follow its form')
    const key = bytes.toString('latin1', space + 1, equals)
    const value = bytes.subarray(equals + 1, end - 1)
    // An empty value takes back what was said before. Attributes can be empty.
    if (value.length === 0 && !key.startsWith(attributePrefix)) records.delete(key)
    else records.set(key, value)
    at = end
  }
  return records
}

const attributePrefix = 'SCHILY.xattr.'

/** Extended attributes among pax records, without those by which overlayfs marks its own layers. */
export function attributesOf(
  records: ReadonlyMap<string, Buffer>,
  fail: (what: string) => VarveError,
): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>()
  let bytes = 0
  for (const [key, value] of records) {
    if (!key.startsWith(attributePrefix)) continue
    const name = key.slice(attributePrefix.length)
    if (/^(?:trusted|user)\.overlay\./.test(name)) continue
    if (!/^[\x21\x23-\x7e]{1,255}$/.test(name)) throw fail(`an attribute is named ${shown(name)}`)
    bytes += name.length + value.length
    if (bytes > maxAttributeBytes) throw fail(`more than ${maxAttributeBytes} bytes of extended attributes`)
    if (found.size === maxAttributes) throw fail(`more than ${maxAttributes} extended attributes`)
    found.set(name, Buffer.from(value))
  }
  return found
}
