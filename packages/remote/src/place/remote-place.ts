import type { BlobSource, Descriptor, Digest, RefSource, SourceOptions } from 'varve'

/** A place beyond this host that keeps snapshots, opened. Nothing of it must be closed. */
export interface RemotePlace {
  /** For messages: never with a password. */
  readonly location: string
  /** Blobs by their digest; manifests, too. */
  readonly blobs: BlobSource
  /** The references. */
  readonly refs: RefSource
  /** Manifests, and what points at them. */
  readonly artifacts: ArtifactSource
}

/**
 * The manifests of a place, and the artifacts whose `subject` is one of them: working sets. Every method may
 * be repeated after a failure. INTERRUPTED once `signal` is aborted.
 */
export interface ArtifactSource {
  /**
   * Keeps the manifest of a snapshot whose blobs are all there, and lets the place find it by the snapshot's
   * id. `manifest` is its bytes, `id` the snapshot's id.
   */
  putSnapshot(manifest: Buffer, id: string, options?: SourceOptions): Promise<void>
  /** The manifest of a snapshot that was put, by its id. Undefined if there is none. */
  findSnapshot(id: string, options?: SourceOptions): Promise<Digest | undefined>
  /**
   * Lets the place forget the id; the manifest stays as long as references name it. False if it was not
   * there.
   */
  forgetSnapshot(id: string, options?: SourceOptions): Promise<boolean>
  /** Keeps an artifact whose blobs are all there, and that names `subject`. */
  putReferrer(subject: Descriptor, artifact: Buffer, options?: SourceOptions): Promise<void>
  /**
   * The manifests of all artifacts of `artifactType` whose subject is `subject`, in no order; 1,024 at most.
   */
  referrers(subject: Digest, artifactType: string, options?: SourceOptions): Promise<readonly Descriptor[]>
}

/** More working sets than any snapshot has; what a hostile place may make a client read. */
export const maxReferrers = 1024
