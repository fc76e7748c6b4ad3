import type { Digest } from './descriptors.js'

/** Options of every call. */
export interface SourceOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * A place that keeps bytes under their SHA-256: a directory, a registry, a bucket. Blobs never change, so any
 * of them may be cached for ever. Each implementation passes `test/support/blob-source-suite.ts`.
 *
 * Every method may be repeated after a failure. INTERRUPTED once `signal` is aborted.
 */
export interface BlobSource {
  /** For messages. */
  readonly location: string
  /** Undefined if the blob is not here. */
  stat(digest: Digest, options?: SourceOptions): Promise<BlobStat | undefined>
  /** NOT_FOUND. The caller disposes of what it gets. */
  open(digest: Digest, options?: SourceOptions): Promise<OpenBlob>
  /**
   * All or nothing: a blob is here whole or not at all, also for other processes and after a crash.
   * CHECKSUM_MISMATCH if the content has another digest or size: then nothing has changed. A blob that is
   * here already stays, and `content` may be left unread.
   */
  put(blob: BlobToPut, content: BlobContent, options?: SourceOptions): Promise<void>
  /** In no order. Blobs that come or go meanwhile may be in it or not. */
  list(options?: SourceOptions): AsyncIterable<Digest>
  /** False if it was not here. The caller knows that nothing needs it. */
  remove(digest: Digest, options?: SourceOptions): Promise<boolean>
}

/** A blob that is here. */
export interface BlobStat {
  /** Its length, bytes. */
  readonly sizeBytes: number
}

/** What `put` is to keep. */
export interface BlobToPut {
  /** The SHA-256 that the content must have. */
  readonly digest: Digest
  /** The length that the content must have, bytes. */
  readonly sizeBytes: number
}

/** In pieces of any length. An error that it throws ends the `put`, which throws that error. */
export type BlobContent = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/** A blob that can be read until it is disposed of. */
export interface OpenBlob extends AsyncDisposable {
  /** Its length, bytes. */
  readonly sizeBytes: number
  /**
   * Exactly these bytes, never fewer and never zeros in place of missing ones. INVALID_ARGUMENT if the range
   * is not within the blob. The bytes are not compared with the digest: who reads a part trusts the place, or
   * checks it by other means.
   */
  read(range: ByteRange, options?: SourceOptions): Promise<Uint8Array>
}

/** A range of bytes of a blob. */
export interface ByteRange {
  /** The first byte, from 0. */
  readonly offsetBytes: number
  /** How many bytes. */
  readonly lengthBytes: number
}
