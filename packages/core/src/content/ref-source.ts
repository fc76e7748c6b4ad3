import type { SourceOptions } from './blob-source.js'
import type { Descriptor, Digest } from './descriptors.js'

/** A name that may come to mean another manifest. */
export interface Reference {
  /** 1–128 of A–Z, a–z, 0–9, '.', '_', '-', as `assertTag`. */
  readonly name: string
  /**
   * The manifest of a snapshot. Its annotations say which snapshot that is, of which parent, and since when
   * (`referenceAnnotations`).
   */
  readonly target: Descriptor
}

/**
 * The names of a place that keeps snapshots: what changes there, where blobs do not. A change is one step
 * that only one of several writers can win, so no lock is held between reading and writing. Each
 * implementation passes `test/support/ref-source-suite.ts`.
 *
 * INVALID_ARGUMENT for a name that is none. INTERRUPTED once `signal` is aborted.
 */
export interface RefSource {
  /** For messages. */
  readonly location: string
  /** Undefined if the name means nothing. */
  read(name: string, options?: SourceOptions): Promise<Descriptor | undefined>
  /**
   * Lets the name mean `next` (null: nothing) if it means `expected` (null: nothing) at that moment.
   * False if it does not: then nothing has changed, and the caller reads again. NOT_FOUND if the blob
   * of `next` is not in the place; blobs come before what names them. INVALID_ARGUMENT if `next` is
   * not the manifest of a snapshot.
   */
  compareAndSet(
    name: string,
    expected: Digest | null,
    next: Descriptor | null,
    options?: SourceOptions,
  ): Promise<boolean>
  /** Each name once, in no order. Those that change meanwhile have one of their meanings. */
  list(options?: SourceOptions): AsyncIterable<Reference>
}
