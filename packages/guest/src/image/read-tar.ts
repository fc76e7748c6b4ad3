import { VarveError } from 'varve'
import type { ByteReader } from './byte-reader.js'
import { maxGlobalRecords, maxPathBytes, maxPaxBytes } from './image-limits.js'
import { type DataExtent, readSparseMap } from './sparse-map.js'
import {
  attributesOf,
  type ByteString,
  blockBytes,
  kindOf,
  parseHeader,
  paxRecords,
  type RawHeader,
  shown,
  type TarKind,
} from './tar-header.js'

/** No name or number is as long. A global record would be read anew for each entry. */
const maxTextBytes = 2 * maxPathBytes

export interface TarEntry {
  readonly kind: TarKind
  readonly name: ByteString
  /** Of a link or symlink. */
  readonly linkName: ByteString
  /** Permissions with set-id and sticky bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Seconds since 1970, fractions dropped. */
  readonly mtime: number
  readonly major: number
  readonly minor: number
  readonly attributes: ReadonlyMap<string, Buffer>
  /** Of a file, holes included; 0 of all else. */
  readonly sizeBytes: number
  /** Where a file with holes has bytes; null if it has none. */
  readonly extents: readonly DataExtent[] | null
  /**
   * A file's bytes, those of its extents one after the other. To be read before the next entry, or not at
   * all.
   */
  readonly content: AsyncIterable<Buffer>
}

/**
 * The entries of a tar archive, in order. The reader must not be used otherwise meanwhile. FORMAT_INVALID or
 * FORMAT_UNSUPPORTED with the byte where the archive is wrong.
 */
export async function* readTar(reader: ByteReader): AsyncGenerator<TarEntry> {
  const globals = new Map<string, Buffer>()
  let records = new Map<string, Buffer>()
  let longName: ByteString | undefined
  let longLink: ByteString | undefined
  for (let members = 0; ; members++) {
    const at = reader.position
    const fail = (what: string) =>
      new VarveError('FORMAT_INVALID', `tar archive, byte ${at}: ${what}`, { details: { offset: at } })
    const block = await reader.read(blockBytes)
    // GNU tar too takes an archive without the blocks of zeros at its end, if it ends between entries.
    if (block.length === 0 && members > 0) return
    if (block.length < blockBytes) throw fail('it ends within a header')
    const header = parseHeader(block, fail)
    if (header === undefined) return
    const { type, sizeBytes } = header
    if (type === 'x' || type === 'g') {
      const text = await small(reader, sizeBytes, maxPaxBytes, fail)
      if (type === 'x') records = paxRecords(text, fail)
      else for (const [key, value] of paxRecords(text, fail)) globals.set(key, value)
      if (globals.size > maxGlobalRecords) throw fail(`more than ${maxGlobalRecords} global pax records`)
      continue
    }
    if (type === 'L' || type === 'K') {
      // A name with the NUL that ends it.
      const text = await small(reader, sizeBytes, maxPathBytes + 1, fail)
      const name = text.toString('latin1').replace(/\0.*$/s, '')
      if (type === 'L') longName = name
      else longLink = name
      continue
    }
    const all = new Map([...globals, ...records])
    const { entry, storedBytes } = await entryOf({ reader, header, records: all, longName, longLink, fail })
    records = new Map()
    longName = undefined
    longLink = undefined
    const end = reader.position + storedBytes
    yield entry
    await reader.skip(end - reader.position + paddingOf(storedBytes))
  }
}

const paddingOf = (bytes: number): number => (blockBytes - (bytes % blockBytes)) % blockBytes

async function small(
  reader: ByteReader,
  sizeBytes: number,
  maxBytes: number,
  fail: (what: string) => VarveError,
): Promise<Buffer> {
  if (sizeBytes < 0 || sizeBytes > maxBytes) throw fail(`names and records of ${sizeBytes} bytes`)
  const bytes = await reader.read(sizeBytes)
  if (bytes.length < sizeBytes) throw fail('it ends within names and records')
  const copy = Buffer.from(bytes)
  await reader.skip(paddingOf(sizeBytes))
  return copy
}

interface Raw {
  readonly reader: ByteReader
  readonly header: RawHeader
  readonly records: ReadonlyMap<string, Buffer>
  readonly longName: ByteString | undefined
  readonly longLink: ByteString | undefined
  readonly fail: (what: string) => VarveError
}

async function entryOf(raw: Raw): Promise<{ readonly entry: TarEntry; readonly storedBytes: number }> {
  const { reader, header, records, longName, longLink, fail } = raw
  const text = (key: string) => {
    const value = records.get(key)
    if (value !== undefined && value.length > maxTextBytes) throw fail(`${key} has ${value.length} bytes`)
    return value?.toString('latin1')
  }
  const number = (key: string): number | undefined => {
    const value = text(key)
    if (value === undefined) return undefined
    // Times have fractions and signs.
    const whole = /^(-?\d{1,15})(?:\.\d*)?$/.exec(value)?.[1]
    if (whole === undefined) throw fail(`${key} is ${shown(value)}`)
    return Number(whole)
  }
  const name = text('GNU.sparse.name') ?? text('path') ?? longName ?? header.name
  const kind = kindOf(header.type)
  if (kind === undefined || records.has('GNU.sparse.map') || records.has('GNU.sparse.offset'))
    throw unsupported(header.type, name)
  const hasContent = kind === 'file'
  // Links can carry the size of what they lead to, without its bytes.
  const storedBytes = hasContent ? (number('size') ?? header.sizeBytes) : 0
  if (storedBytes < 0) throw fail(`the size of ${shown(name)} is ${storedBytes}`)
  const isSparse = hasContent && number('GNU.sparse.major') === 1
  const sizeBytes = isSparse ? (number('GNU.sparse.realsize') ?? -1) : storedBytes
  if (sizeBytes < 0) throw fail(`the sparse file ${shown(name)} has no size`)
  const start = reader.position
  const extents = isSparse ? await readSparseMap(reader, sizeBytes, storedBytes, fail) : null
  const leftBytes = storedBytes - (reader.position - start)
  const entry: TarEntry = {
    kind,
    name,
    linkName: text('linkpath') ?? longLink ?? header.linkName,
    mode: header.mode & 0o7777,
    uid: number('uid') ?? header.uid,
    gid: number('gid') ?? header.gid,
    mtime: number('mtime') ?? header.mtime,
    major: header.major,
    minor: header.minor,
    attributes: attributesOf(records, fail),
    sizeBytes,
    extents,
    content: reader.pieces(leftBytes),
  }
  return { entry, storedBytes: leftBytes }
}

function unsupported(type: string, name: ByteString): VarveError {
  return new VarveError('FORMAT_UNSUPPORTED', `tar entry ${shown(name)} is of type ${shown(type)}`, {
    remedy: 'write the archive by tar --format=pax',
  })
}
