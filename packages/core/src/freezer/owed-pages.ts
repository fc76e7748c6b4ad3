import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { VarveError } from '../errors.js'
import { emptyBitmap, type PageBitmap, pageSetFromBitmap, setBits } from '../memory/page-bitmap.js'
import { type PageSet, pageSetLimit } from '../memory/page-set.js'

const magic = 'varveowd'
const version = 1
const headerBytes = 44

/** docs/formats/owed-pages-v1.md */
export interface OwedPages {
  /** The snapshot that they count from, 32 hexadecimal digits; null: the boot. */
  readonly from: string | null
  /** Pages of guest memory. */
  readonly memoryPages: number
  readonly written: PageSet
}

export function writeOwedPages(path: string, { from, memoryPages, written }: OwedPages): void {
  const bitmap = emptyBitmap(0, memoryPages)
  setBits(bitmap, written)
  writeOwedBitmap(path, { from, memoryPages }, bitmap)
}

/** The same, of pages as bits from page 0 on; there may be words behind the last page. */
export function writeOwedBitmap(
  path: string,
  { from, memoryPages }: Omit<OwedPages, 'written'>,
  { words }: PageBitmap,
): void {
  const body = new Uint8Array(words.buffer, words.byteOffset, Math.ceil(memoryPages / 32) * 4)
  const header = Buffer.alloc(headerBytes)
  header.write(magic, 'latin1')
  header.writeUInt32LE(version, 8)
  header.writeUInt32LE(from === null ? 0 : 1, 12)
  if (from !== null) Buffer.from(from, 'hex').copy(header, 16)
  header.writeBigUInt64LE(BigInt(memoryPages), 32)
  header.writeUInt32LE(crc32(body, crc32(header.subarray(0, 40))), 40)
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, Buffer.concat([header, body]), { mode: 0o600 })
  renameSync(temporary, path)
}

/** FORMAT_INVALID, FORMAT_UNSUPPORTED, CHECKSUM_MISMATCH; NOT_FOUND is for the caller (ENOENT as it is). */
export function readOwedPages(path: string, memoryPages: number): OwedPages {
  const invalid = (what: string) =>
    new VarveError('FORMAT_INVALID', `the owed pages ${path} ${what}`, { details: { path } })
  const expected = headerBytes + Math.ceil(memoryPages / 32) * 4
  const { size } = statSync(path)
  if (memoryPages >= pageSetLimit || size !== expected)
    throw invalid(`have ${size} bytes, not the ${expected} of ${memoryPages} pages`)
  const bytes = readFileSync(path)
  if (bytes.length !== expected) throw invalid(`changed their size to ${bytes.length} bytes`)
  if (bytes.toString('latin1', 0, 8) !== magic) throw invalid('do not begin as such a file')
  const found = bytes.readUInt32LE(8)
  if (found !== version)
    throw new VarveError('FORMAT_UNSUPPORTED', `the owed pages ${path} have version ${found}, not ${version}`)
  if (bytes.readBigUInt64LE(32) !== BigInt(memoryPages))
    throw invalid(`are of ${bytes.readBigUInt64LE(32)} pages of memory, not ${memoryPages}`)
  const body = bytes.subarray(headerBytes)
  if (crc32(body, crc32(bytes.subarray(0, 40))) !== bytes.readUInt32LE(40))
    throw new VarveError('CHECKSUM_MISMATCH', `the owed pages ${path} have another checksum`, {
      details: { path },
    })
  const words = new Int32Array(body.length / 4)
  for (const index of words.keys()) words[index] = body.readInt32LE(4 * index)
  const bitmap: PageBitmap = { first: 0, words }
  const written = pageSetFromBitmap(bitmap)
  const last = written.starts.length - 1
  if (last >= 0 && (written.starts[last] as number) + (written.counts[last] as number) > memoryPages)
    throw invalid('name a page behind the last one')
  const from = bytes.readUInt32LE(12) === 0 ? null : bytes.toString('hex', 16, 32)
  return { from, memoryPages, written }
}
