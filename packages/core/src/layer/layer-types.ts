import type { PageSet } from '../memory/page-set.js'

/** 32 lower-case hexadecimal digits: the identity of an image, and of the snapshot that made it. */
export type ImageId = string

/** The first stored page of a run of zero pages in a `LayerIndex`. */
export const zeroPage = 0xffff_ffff

/**
 * What a layer says of each page. Runs ascend by image page and do not overlap; a page in none of them is
 * absent: ask the parent. Neighbours that could be one run are one.
 *
 * ```
 * starts[i], counts[i]   pages of the image
 * storedStarts[i]        first page in the layer's file, or `zeroPage`
 * ```
 */
export interface LayerIndex {
  /** Pages of the image. */
  readonly pages: number
  /** The first image page of each run, ascending. */
  readonly starts: Uint32Array
  /** The length of each run, pages. */
  readonly counts: Uint32Array
  /** The first page of each run in the layer's file, or `zeroPage`. */
  readonly storedStarts: Uint32Array
  /** An `ExtentMap` is no index: it marks zero pages in another way. */
  readonly sources?: never
}

/** `flat`: page p of the image lies at p × 4096. `packed`: data pages lie densely, one after the other. */
export type LayerLayout = 'flat' | 'packed'

/**
 * The part of a layer that reading its pages needs: the file, and how many pages
 * of 4,096 bytes it begins with.
 */
export interface LayerFile {
  /** The file. */
  readonly path: string
  /** How many pages the file begins with; the footer follows. */
  readonly storedPages: number
}

/** A layer file, its footer read and checked (docs/formats/layer-v1.md). */
export interface Layer extends LayerFile {
  /** How the file stores its pages. */
  readonly layout: LayerLayout
  /** The image that this layer completes. */
  readonly image: ImageId
  /** The image that absent pages come from; null for a base, which has none. */
  readonly parent: ImageId | null
  /** What the layer says of each page. */
  readonly index: LayerIndex
  /** CRC-32 of each chunk of 512 data pages, in file order. */
  readonly checksums: Uint32Array
  /** Size of the file, footer and holes included. */
  readonly sizeBytes: number
}

/** How pages came into a new file. The best that the file system can do is tried first. */
export type CopyMethod = 'FICLONERANGE' | 'copy_file_range' | 'read-write'

/**
 * In which order a packed layer stores its pages: those of the first set first, within
 * a set ascending, the rest last.
 */
export type PackOrder = readonly PageSet[]
