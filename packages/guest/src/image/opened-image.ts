import type { Digest } from 'varve'
import type { ImageConfig } from './image-config.js'
import type { ImageLimits } from './image-limits.js'

/** An image whose documents were read and whose layers were not yet. */
export interface OpenedImage {
  /** Of what was asked for: docs/formats/guest-image.md, `source`. */
  readonly digest: Digest
  readonly config: ImageConfig
  /** The lowest first. */
  readonly layers: readonly ImageLayer[]
}

export interface ImageLayer {
  /** For messages. */
  readonly name: string
  /** The host's file: a tar archive, plain or compressed. */
  readonly path: string
  /** SHA-256 of that file; null if nothing says what it must be. */
  readonly digest: Digest | null
  /** SHA-256 of the archive, unpacked. */
  readonly diffId: Digest
}

export interface OpenImageOptions {
  /** A folder of the build's own for what is fetched and taken out of archives. It goes with the build. */
  readonly work: string
  readonly limits: ImageLimits
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}
