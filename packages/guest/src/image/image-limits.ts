import { VarveError } from 'varve'

/**
 * What an image may take. Whoever made it can be anyone, so each bound is checked before anything is
 * allocated.
 */
export interface ImageLimits {
  /** Bytes of all its layers, unpacked, and of all its files, holes included. */
  readonly maxBytes: number
  readonly maxEntries: number
}

const gib = 1024 ** 3

/** A large image (CUDA with its tools) has some 300,000 files in 20 GiB; most have a tenth of that. */
export const defaultImageLimits: ImageLimits = { maxBytes: 16 * gib, maxEntries: 1_000_000 }

/** As of Docker: more layers than overlayfs can stack are in no image that ran anywhere. */
export const maxLayers = 127
/** PATH_MAX and NAME_MAX of Linux, without the NUL. */
export const maxPathBytes = 4095
export const maxNameBytes = 255
export const maxDepth = 256
/** All pax records of one entry. Real ones have some hundred bytes. */
export const maxPaxBytes = 1024 * 1024
/** A value (XATTR_SIZE_MAX); e2fsprogs stores less: all attributes of a file in a block. */
export const maxAttributeBytes = 64 * 1024
/** Manifests, indexes and configurations. Registries refuse manifests above this size. */
export const maxJsonBytes = 4 * 1024 * 1024

/** Counts what an image takes. */
export class ImageBudget {
  readonly #limits: ImageLimits
  #bytes = 0
  #entries = 0

  constructor(limits: ImageLimits = defaultImageLimits) {
    this.#limits = limits
  }

  /** Before so many bytes are read or written. */
  spendBytes(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes <= this.#limits.maxBytes) return
    throw new VarveError('FORMAT_INVALID', `the image unpacks to more than ${this.#limits.maxBytes} bytes`, {
      remedy: 'if it is to be trusted, ask for a disk of more than this size (--size)',
    })
  }

  spendEntry(): void {
    if (++this.#entries > this.#limits.maxEntries)
      throw new VarveError('FORMAT_INVALID', `the image has more than ${this.#limits.maxEntries} entries`)
  }
}
