import { createHash } from 'node:crypto'
import { VarveError } from '../errors.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import type { BlobContent, BlobToPut, SourceOptions } from './blob-source.js'
import { digestOf } from './descriptors.js'

/**
 * Passes the pieces of `content` on, and throws at its end if it was not the blob. The caller must then throw
 * away what it has taken. More bytes than `sizeBytes` are never passed on.
 */
export async function* checkedContent(
  { digest, sizeBytes }: BlobToPut,
  content: BlobContent,
  { signal }: SourceOptions = {},
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let length = 0
  for await (const piece of content) {
    throwIfAborted(signal, digest)
    length += piece.length
    if (length > sizeBytes)
      throw new VarveError('CHECKSUM_MISMATCH', `the content of ${digest} has more than ${sizeBytes} bytes`)
    hash.update(piece)
    yield piece
  }
  throwIfAborted(signal, digest)
  const found = digestOf(hash.digest('hex'))
  if (length !== sizeBytes || found !== digest)
    throw new VarveError(
      'CHECKSUM_MISMATCH',
      `the content of ${digest} (${sizeBytes} bytes) is ${found} (${length} bytes)`,
    )
}
