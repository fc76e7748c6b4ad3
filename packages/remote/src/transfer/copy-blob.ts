import { type BlobSource, type Descriptor, isVarveError, type SourceOptions } from 'varve'

/**
 * What is read at once. Registries' storage likes 8 to 16 MB, and two pieces of each of three blobs are in
 * memory.
 */
const pieceBytes = 16 * 1024 * 1024

/** Tries of a whole blob, after what a single request was repeated for has failed. */
const tries = 3

/** What a copy tells while it works. */
export interface CopyOptions extends SourceOptions {
  /** Bytes that have been read since the last call; negative if a blob begins again. */
  readonly onBytes?: (bytes: number) => void
}

/** Copies a blob, unless it is there already. True if it was sent. NOT_FOUND, CHECKSUM_MISMATCH. */
export async function copyBlob(
  from: BlobSource,
  to: BlobSource,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  options: CopyOptions = {},
): Promise<boolean> {
  const { signal, onBytes } = options
  if ((await to.stat(digest, { signal }))?.sizeBytes === size) return false
  for (let attempt = 1; ; attempt++) {
    let read = 0
    const count = (bytes: number) => {
      read += bytes
      onBytes?.(bytes)
    }
    try {
      await using blob = await from.open(digest, { signal })
      await to.put({ digest, sizeBytes: size }, piecesOf(blob, { signal, onBytes: count }), { signal })
      return true
    } catch (error) {
      // Wrong bytes once may be the way's fault, twice they are the place's.
      const most = isVarveError(error, 'PLACE_UNREACHABLE')
        ? tries
        : isVarveError(error, 'CHECKSUM_MISMATCH')
          ? 2
          : 0
      if (attempt >= most) throw error
      onBytes?.(-read)
    }
  }
}

/** The blob in pieces; the next one is on its way while one is used. */
async function* piecesOf(
  blob: Awaited<ReturnType<BlobSource['open']>>,
  { signal, onBytes }: CopyOptions,
): AsyncGenerator<Uint8Array> {
  const read = (offsetBytes: number) => {
    const lengthBytes = Math.min(pieceBytes, blob.sizeBytes - offsetBytes)
    const piece = blob.read({ offsetBytes, lengthBytes }, { signal })
    // It is awaited later; until then a failure is nobody's, which would end the process.
    piece.catch(() => undefined)
    return piece
  }
  let coming = blob.sizeBytes > 0 ? read(0) : undefined
  for (let at = 0; coming !== undefined; ) {
    const piece: Uint8Array = await coming
    at += piece.length
    coming = at < blob.sizeBytes ? read(at) : undefined
    onBytes?.(piece.length)
    yield piece
  }
}
