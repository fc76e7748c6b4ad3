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
/** Of one file: more than a block, which is all that ext4 gives them, has room for. */
export const maxAttributes = 256
/** Of records that hold for all entries behind them. Git, which writes them, writes one. */
export const maxGlobalRecords = 256
/** Names, targets of links and attributes stay in memory. An image of 300,000 files has some 10 MiB. */
export const maxKeptBytes = 256 * 1024 * 1024
/** Manifests, indexes and configurations. Registries refuse manifests above this size. */
export const maxJsonBytes = 4 * 1024 * 1024

/** Counts what an image takes. */
export class ImageBudget {
  readonly #limits: ImageLimits
  #bytes = 0
  #entries = 0
  #keptBytes = 0

  constructor(limits: ImageLimits = defaultImageLimits) {
    this.#limits = limits
  }

  /** Before so many bytes are read or written. */
  spendBytes(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes <= this.#limits.maxBytes) return
    throw new VarveError('FORMAT_INVALID', `the image unpacks to more than ${this.#limits.maxBytes} bytes`, {
      remedy: 'if you trust the image, ask for a disk of more than this size (--size)',
    })
  }

  /**
   * For each entry of an archive, whether its name is new or not: an older file of that name stays in the
   * spool. `keptBytes`: what of the entry stays in memory.
   */
  spendEntry(keptBytes = 0): void {
    this.#keptBytes += keptBytes
    if (this.#keptBytes > maxKeptBytes)
      throw new VarveError(
        'FORMAT_INVALID',
        `the image has more than ${maxKeptBytes} bytes of names, links and attributes`,
      )
    if (++this.#entries > this.#limits.maxEntries)
      throw new VarveError('FORMAT_INVALID', `the image has more than ${this.#limits.maxEntries} entries`)
  }
}
