import { crc32 } from 'node:zlib'
import { VarveError } from 'varve'
import { type FramedIndex, frameEntry, framesOf } from '../framed/framed-index.js'

/** The file `frames` of docs/formats/frame-cache-v1.md: which frames are here. */

const magic = 'VARVEFRC'
const version = 1
const headerBytes = 64
export const markBytes = 4

/** What a frame's mark is once the frame is here; never zero. */
export function markOf(index: FramedIndex, frame: number): Buffer {
  const mark = Buffer.from(frameEntry(index, frame).sha256.subarray(0, markBytes))
  mark[0] = (mark[0] as number) | 1
  return mark
}

export const markOffset = (frame: number): number => headerBytes + frame * markBytes

/** The file when no frame is here. */
export function emptyMarks(index: FramedIndex, indexSha256: Buffer): Buffer {
  const bytes = Buffer.alloc(markOffset(framesOf(index)))
  bytes.write(magic, 0, 'latin1')
  bytes[8] = version
  bytes.writeUInt32LE(framesOf(index), 12)
  indexSha256.copy(bytes, 16)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, headerBytes - 4)), headerBytes - 4)
  return bytes
}

/**
 * Which frames are here, one byte each. A mark that is neither zero nor right is damage: the frame comes
 * again. FORMAT_INVALID if the file is of another index, FORMAT_UNSUPPORTED if it is of a later version.
 */
export function readMarks(bytes: Buffer, index: FramedIndex, indexSha256: Buffer, path: string): Uint8Array {
  const known = emptyMarks(index, indexSha256)
  if (bytes.length > 8 && bytes.toString('latin1', 0, 8) === magic && (bytes[8] as number) > version)
    throw new VarveError(
      'FORMAT_UNSUPPORTED',
      `${path} has version ${bytes[8]}, this Varve knows ${version}`,
      {
        remedy: 'use a newer Varve, or another directory for the cache',
        details: { path, offset: 8 },
      },
    )
  if (bytes.length !== known.length || known.compare(bytes, 0, headerBytes, 0, headerBytes) !== 0)
    throw new VarveError('FORMAT_INVALID', `${path} does not belong to the index alongside it`, {
      details: { path, offset: 0 },
    })
  return Uint8Array.from({ length: framesOf(index) }, (_, frame) => {
    const at = markOffset(frame)
    return markOf(index, frame).equals(bytes.subarray(at, at + markBytes)) ? 1 : 0
  })
}
