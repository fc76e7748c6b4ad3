import { VarveError } from '../errors.js'

/**
 * The part of POSIX tar (ustar with pax records) that an export needs, with GNU's pax sparse format 1.0 for
 * files with holes. Sources: POSIX.1-2024 pax(1); GNU tar manual, "Storing Sparse Files".
 */

export const blockBytes = 512
/** A name and five numbers. */
const maxPaxBytes = 64 * 1024
/** Numbers of a sparse map: two an extent. 64 MiB of them. */
export const maxSparseExtents = 2 ** 21

export interface Extent {
  readonly startBytes: number
  readonly endBytes: number
}

export interface TarEntry {
  readonly name: string
  readonly kind: 'file' | 'directory'
  /** Of the file as it is unpacked, holes included. */
  readonly sizeBytes: number
  /** Bytes in the archive: data, and before it the map if there is one. */
  readonly storedBytes: number
  readonly isSparse: boolean
}

const padded = (bytes: number) => Math.ceil(bytes / blockBytes) * blockBytes
export const paddingOf = (bytes: number): Buffer => Buffer.alloc(padded(bytes) - bytes)

/** Header blocks of a file; the data must follow, sparse files with `sparseMap` before it. */
export function fileHeader(
  name: string,
  sizeBytes: number,
  sparse: { readonly storedBytes: number } | null,
): Buffer {
  const storedBytes = sparse === null ? sizeBytes : sparse.storedBytes
  const records: [string, string][] = []
  if (sparse !== null)
    records.push(
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', name],
      ['GNU.sparse.realsize', String(sizeBytes)],
    )
  if (storedBytes > maxOctalSize) records.push(['size', String(storedBytes)])
  const header = ustar(sparse === null ? name : `GNUSparseFile.0/${name}`, storedBytes, '0')
  if (records.length === 0) return header
  const pax = Buffer.concat(records.map(([key, value]) => paxRecord(key, value)))
  return Buffer.concat([ustar('PaxHeaders/varve', pax.length, 'x'), pax, paddingOf(pax.length), header])
}

export function directoryHeader(name: string): Buffer {
  return ustar(name, 0, '5')
}

/** Two blocks of zeros end an archive. */
export const endOfArchive = Buffer.alloc(2 * blockBytes)

/**
 * The map of a sparse file, padded to a block: number of extents, then offset and
 * length of each, decimal, by lines.
 */
export function sparseMap(extents: readonly Extent[], sizeBytes: number): Buffer {
  const numbers = [extents.length + 1]
  for (const { startBytes, endBytes } of extents) numbers.push(startBytes, endBytes - startBytes)
  // An extent of nothing at the end: so a hole at the end has its length.
  numbers.push(sizeBytes, 0)
  const text = Buffer.from(`${numbers.join('\n')}\n`, 'latin1')
  return Buffer.concat([text, paddingOf(text.length)])
}

/** 11 octal digits. */
const maxOctalSize = 8 ** 11 - 1

function ustar(name: string, size: number, type: '0' | '5' | 'x'): Buffer {
  if (Buffer.byteLength(name) > 100)
    throw new VarveError('INVALID_ARGUMENT', `${name} is too long for a tar header`)
  const header = Buffer.alloc(blockBytes)
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  header.write(name, 0, 'latin1')
  octal(type === '5' ? 0o700 : 0o600, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(Math.min(size, maxOctalSize), 124, 12)
  octal(0, 136, 12)
  header.write(type, 156, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  header.fill(' ', 148, 156)
  header.write(`${checksum(header).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

const checksum = (header: Buffer) => header.reduce((sum, byte) => sum + byte, 0)

/** "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`
  let length = Buffer.byteLength(rest)
  length += String(length + String(length).length).length
  return Buffer.from(`${length}${rest}`)
}

/**
 * Reads the headers of one entry; `read` gives so many bytes of the archive, or fewer at
 * its end. Undefined at the end.
 */
export async function readHeader(
  read: (length: number) => Promise<Buffer>,
  path: string,
  offset: number,
): Promise<{ readonly entry: TarEntry; readonly headerBytes: number } | undefined> {
  const pax = new Map<string, string>()
  let headerBytes = 0
  for (;;) {
    const at = offset + headerBytes
    const fail = (detail: string) =>
      new VarveError('FORMAT_INVALID', `archive ${path}, byte ${at}: ${detail}`, {
        details: { path, offset: at },
      })
    const header = await read(blockBytes)
    headerBytes += blockBytes
    if (header.length < blockBytes) throw fail('it ends within a header')
    if (header.every((byte) => byte === 0)) return undefined
    const stated = parseOctal(header.subarray(148, 156))
    const blank = Buffer.from(header)
    blank.fill(' ', 148, 156)
    if (stated !== checksum(blank)) throw fail('the checksum of a header does not fit')
    const size = parseOctal(header.subarray(124, 136))
    if (size === undefined) throw fail('the size in a header is no octal number')
    const type = String.fromCharCode(header[156] as number)
    if (type === 'x' || type === 'g') {
      if (size > maxPaxBytes) throw fail(`${size} bytes of pax records`)
      const records = (await read(padded(size))).subarray(0, size)
      headerBytes += padded(size)
      // Global records concern other tools.
      if (type === 'x') for (const [key, value] of paxRecords(records, fail)) pax.set(key, value)
      continue
    }
    if (type !== '0' && type !== '\0' && type !== '5') throw fail(`an entry of type ${JSON.stringify(type)}`)
    const number = (key: string): number | undefined => {
      const text = pax.get(key)
      if (text === undefined) return undefined
      if (!/^\d{1,15}$/.test(text)) throw fail(`${key} is ${JSON.stringify(text)}`)
      return Number(text)
    }
    const storedBytes = number('size') ?? size
    const isSparse = number('GNU.sparse.major') === 1
    for (const key of pax.keys())
      if (key.startsWith('GNU.sparse.') && !isSparse) throw fail('a sparse file of another format than 1.0')
    const text = (from: number, to: number) => header.toString('latin1', from, to).replace(/\0.*$/s, '')
    const prefix = header.toString('latin1', 257, 262) === 'ustar' ? text(345, 500) : ''
    const plain = `${prefix === '' ? '' : `${prefix}/`}${text(0, 100)}`
    return {
      entry: {
        name: pax.get('GNU.sparse.name') ?? pax.get('path') ?? plain,
        kind: type === '5' ? 'directory' : 'file',
        sizeBytes: isSparse ? (number('GNU.sparse.realsize') ?? 0) : storedBytes,
        storedBytes,
        isSparse,
      },
      headerBytes,
    }
  }
}

function parseOctal(field: Buffer): number | undefined {
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim()
  return /^[0-7]{1,11}$/.test(text) ? Number.parseInt(text, 8) : undefined
}

function paxRecords(bytes: Buffer, fail: (detail: string) => VarveError): [string, string][] {
  const records: [string, string][] = []
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(' ', at)
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', at, space))
    const equals = bytes.indexOf('=', space)
    if (
      !Number.isInteger(length) ||
      length < 5 ||
      at + length > bytes.length ||
      equals < 0 ||
      equals >= at + length
    )
      throw fail('a pax record that is none')
    records.push([
      bytes.toString('utf8', space + 1, equals),
      bytes.toString('utf8', equals + 1, at + length - 1),
    ])
    at += length
  }
  return records
}

/** Reads the map at the begin of a sparse entry's data. Extents ascend, stay apart, and lie in the file. */
export async function readSparseMap(
  read: (length: number) => Promise<Buffer>,
  { sizeBytes, storedBytes, name }: TarEntry,
  path: string,
): Promise<{ readonly extents: readonly Extent[]; readonly mapBytes: number }> {
  const fail = (detail: string) =>
    new VarveError('FORMAT_INVALID', `archive ${path}: map of ${name}: ${detail}`, { details: { path } })
  let text = ''
  let mapBytes = 0
  let position = 0
  const nextNumber = async (): Promise<number> => {
    for (;;) {
      const end = text.indexOf('\n', position)
      if (end >= 0) {
        const digits = text.slice(position, end)
        position = end + 1
        if (!/^\d{1,15}$/.test(digits)) throw fail(`${JSON.stringify(digits.slice(0, 20))} is no number`)
        return Number(digits)
      }
      if (text.length - position > 16 || mapBytes + blockBytes > storedBytes) throw fail('it does not end')
      const block = await read(blockBytes)
      if (block.length < blockBytes) throw fail('the archive ends in it')
      mapBytes += blockBytes
      text = text.slice(position) + block.toString('latin1')
      position = 0
    }
  }
  const count = await nextNumber()
  if (count > maxSparseExtents) throw fail(`${count} extents, more than ${maxSparseExtents}`)
  const extents: Extent[] = []
  let end = 0
  let dataBytes = 0
  for (let i = 0; i < count; i++) {
    const startBytes = await nextNumber()
    const length = await nextNumber()
    if (startBytes < end || startBytes + length > sizeBytes) throw fail(`extent ${i} is out of place`)
    end = startBytes + length
    dataBytes += length
    if (length > 0) extents.push({ startBytes, endBytes: end })
  }
  if (mapBytes + dataBytes !== storedBytes)
    throw fail(`${dataBytes} bytes of data, the header says otherwise`)
  return { extents, mapBytes }
}
