import { type Digest, type OpenBlob, type SourceOptions, VarveError } from 'varve'
import { hashBytes } from 'varve/testing'
import type { FramedIndex } from './framed-index.js'
import { framedIndexFromBytes, maxIndexBytes, readFramedTrailer, trailerBytes } from './framed-index-bytes.js'

/** What a manifest says of an index. */
export interface ExpectedIndex {
  /** SHA-256 of frame table, page runs and trailer. */
  readonly digest: Digest
  /** Their length. */
  readonly bytes: number
}

/** Options of `readFramedIndex`. */
export interface ReadIndexOptions extends SourceOptions {
  /** For messages. Default: `blob`. */
  readonly name?: string
  /** Default: the file is trusted. Its checksum shows damage, no intent. */
  readonly expected?: ExpectedIndex
}

/**
 * Reads and checks the index of a framed layer: one ranged read if the manifest says how long it is, two
 * otherwise. FORMAT_INVALID, FORMAT_UNSUPPORTED and CHECKSUM_MISMATCH name the byte.
 */
export async function readFramedIndex(
  blob: OpenBlob,
  { name = 'blob', expected, signal }: ReadIndexOptions = {},
): Promise<FramedIndex> {
  const { sizeBytes } = blob
  const invalid = (detail: string) =>
    new VarveError('FORMAT_INVALID', `framed layer ${name} of ${sizeBytes} bytes: ${detail}`, {
      details: { path: name, offset: 0 },
    })
  const last = async (lengthBytes: number) => {
    const bytes = await blob.read({ offsetBytes: sizeBytes - lengthBytes, lengthBytes }, { signal })
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }
  const first = expected?.bytes ?? trailerBytes
  if (!(first >= trailerBytes && first <= Math.min(sizeBytes, maxIndexBytes)))
    throw invalid(`an index of ${first} bytes is not possible`)
  const tail = await last(first)
  if (expected !== undefined) assertDigest(tail, expected.digest, name)
  const trailer = readFramedTrailer(tail.subarray(-trailerBytes), sizeBytes, name)
  const { indexBytes } = trailer
  if (expected !== undefined && indexBytes !== expected.bytes)
    throw invalid(`its index has ${indexBytes} bytes, the manifest says ${expected.bytes}`)
  const bytes = indexBytes === tail.length ? tail : await last(indexBytes)
  return framedIndexFromBytes(bytes, trailer, sizeBytes, name)
}

function assertDigest(bytes: Buffer, digest: Digest, name: string): void {
  const found = hashBytes(bytes)
  if (found === digest) return
  throw new VarveError('CHECKSUM_MISMATCH', `the index of framed layer ${name} is ${found}, not ${digest}`, {
    details: { path: name },
  })
}
