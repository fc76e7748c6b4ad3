import { createHash } from 'node:crypto'
import { VarveError } from 'varve'
import { decompressFrame } from './compress-frame.js'
import { type FramedIndex, frameEntry, rawBytesOf } from './framed-index.js'

/**
 * The raw bytes of a frame. `stored` is what a place gave for `rangeOfFrames(index, frame)`; it is compared
 * with the index before a decompressor sees it. `name` is for messages. CHECKSUM_MISMATCH: the place gave
 * other bytes, ask again or elsewhere. FORMAT_INVALID: these are the writer's bytes, and they hold no frame.
 */
export async function openFrame(
  index: FramedIndex,
  frame: number,
  stored: Uint8Array,
  name = 'blob',
): Promise<Buffer> {
  const { codec, storedBytes, sha256 } = frameEntry(index, frame)
  const details = { path: name, offset: index.offsets[frame], frame }
  const where = `framed layer ${name}, frame ${frame} from byte ${details.offset} on`
  if (stored.length !== storedBytes)
    throw new VarveError('CHECKSUM_MISMATCH', `${where}: ${stored.length} bytes came, not ${storedBytes}`, {
      details,
    })
  const found = createHash('sha256').update(stored).digest()
  if (!found.equals(sha256))
    throw new VarveError(
      'CHECKSUM_MISMATCH',
      `${where}: its SHA-256 is ${found.toString('hex')}, not ${sha256.toString('hex')}`,
      { details },
    )
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.length)
  const rawBytes = rawBytesOf(index, frame)
  return decompressFrame({ codec, bytes }, rawBytes).catch((cause: Error) => {
    throw new VarveError('FORMAT_INVALID', `${where}: not ${rawBytes} bytes by ${codec} (${cause.message})`, {
      cause,
      details,
    })
  })
}
