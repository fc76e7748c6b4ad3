import { isUtf8 } from 'node:buffer'
import { crc32 } from 'node:zlib'
import { type ErrorCode, VarveError } from '../errors.js'
import { imagePagesLimit, maxIndexRuns } from '../layer/layer-index.js'
import type { PageSet } from '../memory/page-set.js'
import { decodePageSet, encodePageSet, setHeaderBytes } from './page-set-bytes.js'
import {
  checkWorkingSet,
  maxGroups,
  maxNotesBytes,
  type WorkingSet,
  type WorkingSetGroup,
  type WorkingSetPart,
  withWorkingSetLine,
} from './working-set.js'

/** The working-set file, docs/formats/working-set-v1.md. */

const magic = 'VARVEWKS'
const version = 1
const headerBytes = 64
const groupTimeBytes = 8
const checksumBytes = 4
const imageIdBytes = 16

/** Runs of all sets of one file together: as many as a layer's index may have. */
const maxRuns = maxIndexRuns

/** No larger file follows the format: a set takes at most 8 bytes a run. */
export const maxWorkingSetBytes =
  headerBytes +
  maxRuns * 8 +
  2 * setHeaderBytes +
  maxGroups * (groupTimeBytes + setHeaderBytes) +
  maxNotesBytes +
  checksumBytes

/** Offsets of the fields, for errors. */
const fieldAt = { groups: 12, pages: 16, image: 24, recordedAtMs: 40, windowMs: 48, notes: 56 } as const

/** INVALID_ARGUMENT if the working set breaks a rule of its type or is too large for the format. */
export function workingSetToBytes(workingSet: WorkingSet): Buffer {
  checkWorkingSet(workingSet)
  const { image, pages, recordedAtMs, windowMs, readOnly, written, groups } = workingSet
  const sets = [readOnly, written, ...groups.map(({ set }) => set)]
  const runs = sets.reduce((sum, { starts }) => sum + starts.length, 0)
  if (runs > maxRuns)
    throw new VarveError('INVALID_ARGUMENT', `working set: ${runs} runs are more than ${maxRuns}`)
  const notes = Buffer.from(JSON.stringify(workingSet.notes))
  if (notes.length > maxNotesBytes)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `working set: notes of ${notes.length} bytes are longer than ${maxNotesBytes}`,
    )
  const header = Buffer.alloc(headerBytes)
  header.write(magic, 0, 'latin1')
  header[8] = version
  header.writeUInt32LE(groups.length, fieldAt.groups)
  header.writeBigUInt64LE(BigInt(pages), fieldAt.pages)
  header.write(image, fieldAt.image, 'hex')
  header.writeBigUInt64LE(BigInt(recordedAtMs), fieldAt.recordedAtMs)
  header.writeBigUInt64LE(BigInt(windowMs), fieldAt.windowMs)
  header.writeUInt32LE(notes.length, fieldAt.notes)
  const parts = [header, encodePageSet(readOnly), encodePageSet(written)]
  for (const { atMs, set } of groups) {
    const time = Buffer.alloc(groupTimeBytes)
    time.writeBigUInt64LE(BigInt(atMs))
    parts.push(time, encodePageSet(set))
  }
  parts.push(notes, Buffer.alloc(checksumBytes))
  const bytes = Buffer.concat(parts)
  const checksumAt = bytes.length - checksumBytes
  bytes.writeUInt32LE(crc32(bytes.subarray(0, checksumAt)), checksumAt)
  return bytes
}

/** Reads bytes that may come from anywhere. `path` names them in errors, which also name the byte. */
export function workingSetFromBytes(bytes: Buffer, path: string): WorkingSet {
  const fail = (offset: number, detail: string, code: ErrorCode = 'FORMAT_INVALID') =>
    new VarveError(code, `working set ${path}, byte ${offset}: ${detail}`, {
      details: { path, offset },
      ...(code === 'FORMAT_UNSUPPORTED' ? { remedy: 'use a newer Varve' } : {}),
    })
  const checksumAt = bytes.length - checksumBytes
  if (bytes.length > maxWorkingSetBytes) throw fail(maxWorkingSetBytes, 'it is longer than any working set')
  if (checksumAt < headerBytes || bytes.toString('latin1', 0, 8) !== magic)
    throw fail(0, 'it does not begin with the magic of a working set')
  const found = bytes[8] as number
  if (found > version) throw fail(8, `version ${found}, this Varve knows ${version}`, 'FORMAT_UNSUPPORTED')
  if (found !== version) throw fail(8, `version ${found} is none`)
  if (bytes.readUInt32LE(checksumAt) !== crc32(bytes.subarray(0, checksumAt)))
    throw fail(checksumAt, 'its CRC-32 does not fit', 'CHECKSUM_MISMATCH')
  if (bytes.readUIntLE(9, 3) !== 0) throw fail(9, 'reserved bytes are not zero')
  if (bytes.readUInt32LE(60) !== 0) throw fail(60, 'reserved bytes are not zero')
  const whole = (offset: number, most: number, what: string): number => {
    const value = bytes.readBigUInt64LE(offset)
    if (value > BigInt(most)) throw fail(offset, `${value} ${what}, more than ${most}`)
    return Number(value)
  }
  const pages = whole(fieldAt.pages, imagePagesLimit, 'image pages')
  const groupCount = bytes.readUInt32LE(fieldAt.groups)
  if (groupCount > maxGroups) throw fail(fieldAt.groups, `${groupCount} groups, more than ${maxGroups}`)
  const notesLength = bytes.readUInt32LE(fieldAt.notes)
  const notesAt = checksumAt - notesLength
  if (notesLength > maxNotesBytes || notesAt < headerBytes)
    throw fail(fieldAt.notes, `notes of ${notesLength} bytes`)

  let at = headerBytes
  let runsLeft = maxRuns
  const readSet = (): PageSet => {
    const read = decodePageSet(bytes, at, { end: notesAt, pages, runs: runsLeft }, fail)
    at = read.end
    runsLeft -= read.set.starts.length
    return read.set
  }
  const begins = new Map<WorkingSetPart, number>(Object.entries(fieldAt) as [WorkingSetPart, number][])
  begins.set('readOnly', at)
  const readOnly = readSet()
  begins.set('written', at)
  const written = readSet()
  const groups: WorkingSetGroup[] = []
  for (let group = 0; group < groupCount; group++) {
    begins.set(group, at)
    if (at + groupTimeBytes > notesAt) throw fail(at, `the sets end before group ${group} of ${groupCount}`)
    const atMs = whole(at, Number.MAX_SAFE_INTEGER, 'ms')
    at += groupTimeBytes
    groups.push({ atMs, set: readSet() })
  }
  if (at !== notesAt) throw fail(at, `${notesAt - at} bytes between the sets and the notes`)
  const workingSet: WorkingSet = {
    image: bytes.toString('hex', fieldAt.image, fieldAt.image + imageIdBytes),
    pages,
    recordedAtMs: whole(fieldAt.recordedAtMs, Number.MAX_SAFE_INTEGER, 'ms'),
    windowMs: whole(fieldAt.windowMs, Number.MAX_SAFE_INTEGER, 'ms'),
    readOnly,
    written,
    groups,
    notes: readNotes(bytes.subarray(notesAt, checksumAt), (detail) => fail(notesAt, detail)),
  }
  begins.set('notes', notesAt)
  checkWorkingSet(workingSet, (part, detail) => fail(begins.get(part) ?? 0, detail))
  return withWorkingSetLine(workingSet)
}

function readNotes(bytes: Buffer, fail: (detail: string) => VarveError): WorkingSet['notes'] {
  if (!isUtf8(bytes)) throw fail('the notes are not UTF-8')
  let notes: unknown
  try {
    notes = JSON.parse(bytes.toString())
  } catch (error) {
    throw fail(`the notes are not JSON: ${(error as Error).message}`)
  }
  if (typeof notes !== 'object' || notes === null || Array.isArray(notes))
    throw fail('the notes are not a JSON object')
  return notes as WorkingSet['notes']
}
