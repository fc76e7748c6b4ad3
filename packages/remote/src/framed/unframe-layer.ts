import { type OpenBlob, VarveError } from 'varve'
import { hashFile, publishFile, throwIfAborted, truncate, type WritableFile, writeAt } from 'varve/testing'
import {
  type FramedIndex,
  frameBytes,
  framesOf,
  layerBytesOf,
  pageBytes,
  pageFramesOf,
  rangeOfFrames,
} from './framed-index.js'
import { inTurn } from './in-turn.js'
import { openFrame } from './open-frame.js'
import { PagePlaces } from './page-places.js'

/** Options of `unframeLayer`. */
export interface UnframeOptions {
  /** For messages. Default: `blob`. */
  readonly name?: string | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Bytes of the frames that are written, and how many there are. */
  readonly onProgress?: ((storedBytes: number, totalBytes: number) => void) | undefined
}

/** As many as libuv has threads, and one on its way. */
const framesAtOnce = 5

/**
 * Writes the layer that a framed layer holds, byte by byte: a new file, whole or not there. Its SHA-256 is
 * compared with the index. CHECKSUM_MISMATCH, FORMAT_INVALID.
 */
export async function unframeLayer(
  blob: OpenBlob,
  index: FramedIndex,
  outPath: string,
  { name = 'blob', signal, onProgress }: UnframeOptions = {},
): Promise<void> {
  throwIfAborted(signal, outPath)
  const places = new PagePlaces(index)
  const frames = framesOf(index)
  const totalBytes = index.offsets[frames] as number
  const open = async (frame: number) => {
    throwIfAborted(signal, outPath)
    const stored = await blob.read(rangeOfFrames(index, frame), { signal })
    return { frame, raw: await openFrame(index, frame, stored, name) }
  }
  await publishFile(outPath, async (out) => {
    truncate(out, layerBytesOf(index))
    for await (const { frame, raw } of inTurn(Array(frames).keys(), framesAtOnce, open)) {
      throwIfAborted(signal, outPath)
      writeFrame(out, index, places, frame, raw)
      onProgress?.(index.offsets[frame + 1] as number, totalBytes)
    }
    const { digest } = await hashFile(out.path, { signal })
    if (digest !== index.layerDigest)
      throw new VarveError(
        'CHECKSUM_MISMATCH',
        `framed layer ${name} holds ${digest}, not ${index.layerDigest}`,
        {
          details: { path: name },
        },
      )
  })
}

/** Puts the pages of a frame, or its part of the layer's footer, where the layer has them. */
export function writeFrame(
  out: WritableFile,
  index: FramedIndex,
  places: PagePlaces,
  frame: number,
  raw: Buffer,
): void {
  const tailFrame = frame - pageFramesOf(index)
  if (tailFrame >= 0) {
    writeAt(out, raw, index.layerPages * pageBytes + tailFrame * frameBytes)
    return
  }
  for (const { page, place, count } of places.pagesOf(frame)) {
    const at = place * pageBytes - frame * frameBytes
    writeAt(out, raw.subarray(at, at + count * pageBytes), page * pageBytes)
  }
}
