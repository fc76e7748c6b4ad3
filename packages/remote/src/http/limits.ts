/** How far a server is trusted with time and memory. */
export interface HttpLimits {
  /** A connection that brings and takes nothing for this long is ended. */
  readonly idleMs: number
  /** A body must come at this rate, on average, once it has taken `idleMs`. */
  readonly minBytesPerSecond: number
  /** As `idleMs`, and for all of the answer, if the server puts a large upload together before it answers. */
  readonly commitMs: number
  /** A request that may be repeated is repeated for this long. */
  readonly retryForMs: number
  /** Waits between tries: a random time up to this, doubled each time. */
  readonly firstDelayMs: number
  /** The longest wait between tries, also if the server asks for more. */
  readonly maxDelayMs: number
}

/**
 * 30 s are longer than any pause of a store that works; S3's manual says that the end of a multipart upload
 * can take "several minutes". Delays as in "Exponential Backoff and Jitter".
 */
export const defaultLimits: HttpLimits = {
  idleMs: 30_000,
  minBytesPerSecond: 16 * 1024,
  commitMs: 600_000,
  retryForMs: 60_000,
  firstDelayMs: 10,
  maxDelayMs: 10_000,
}

/** All headers of a response together. Node's own default, made explicit: a server cannot change it. */
export const maxHeaderBytes = 16 * 1024

/** Registries redirect once, to their storage; storage may redirect to another region. */
export const maxRedirects = 5

/** JSON and XML: manifests, indexes, lists, error documents. */
export const maxDocumentBytes = 4 * 1024 * 1024
