import type { ByteRange, Digest } from 'varve'

/** The numbers of docs/formats/framed-layer-v1.md. */
export const pageBytes = 4096
/** Pages of a frame: 512 KiB, raw. */
export const framePages = 128
export const frameBytes = framePages * pageBytes
/** 1 TiB of data. */
export const maxPlacedPages = 2 ** 28
/** 16 GiB of alternating pages. A page and the number of its run fit 53 bits together. */
export const maxPageRuns = 2 ** 21
/** A layer's footer is at most 768 MiB of runs and some MiB of checksums. */
export const maxTailBytes = 2 ** 30
/** A layer's trailer. */
export const minTailBytes = 128
/** One behind the last page that a layer can have. */
export const layerPagesLimit = 2 ** 32 - 2

/** How the bytes of a frame are stored. */
export type FrameCodec = 'none' | 'lz4' | 'zstd'

/** By their numbers in a file. */
export const frameCodecs: readonly FrameCodec[] = ['none', 'lz4', 'zstd']

/** How much a framed layer holds. */
export interface FramedCounts {
  /** Pages that the layer's file begins with: data, holes and zeros. */
  readonly layerPages: number
  /** Pages that have bytes in the page frames; the layer's other pages are zero. */
  readonly placedPages: number
  /** The first places: the pages of the default working set. */
  readonly hotPages: number
  /** Bytes of the layer behind its pages. */
  readonly tailBytes: number
}

/** A row of the frame table. */
export interface FrameEntry {
  /** How the frame is stored. */
  readonly codec: FrameCodec
  /** Length of the stored bytes. */
  readonly storedBytes: number
  /** SHA-256 of the stored bytes. */
  readonly sha256: Buffer
}

/** Neighbouring pages of the layer that are neighbours in the frames, too. */
export interface PlacedRun {
  /** The first page in the layer's file. */
  readonly page: number
  /** The first place. */
  readonly place: number
  /** How many pages. */
  readonly count: number
}

/** Which page of the layer is where in the frames: runs in the order of places, the first at place 0. */
export interface PageRuns {
  /** The first page of each run, in the layer's file. */
  readonly pages: Uint32Array
  /** The length of each run, pages. */
  readonly counts: Uint32Array
}

/** The index of a framed layer, as its file says it; checked. */
export interface FramedIndex extends FramedCounts {
  /** SHA-256 of the layer's file. */
  readonly layerDigest: Digest
  /** One row of 36 bytes for each frame, as in the file. */
  readonly table: Buffer
  /** Where each frame begins, and one behind the last. */
  readonly offsets: Float64Array
  /** Where each page is. */
  readonly runs: PageRuns
}

export const rowBytes = 36

/** The frames before the tail. */
export const pageFramesOf = ({ placedPages }: Pick<FramedCounts, 'placedPages'>): number =>
  Math.ceil(placedPages / framePages)

/** Page frames and tail frames. */
export const framesOf = (counts: Pick<FramedCounts, 'placedPages' | 'tailBytes'>): number =>
  pageFramesOf(counts) + Math.ceil(counts.tailBytes / frameBytes)

/** The frames that bring the hot set. The last one may hold other pages, too. */
export const hotFramesOf = ({ hotPages }: Pick<FramedCounts, 'hotPages'>): number =>
  Math.ceil(hotPages / framePages)

/** Size of the layer's file. */
export const layerBytesOf = ({ layerPages, tailBytes }: FramedCounts): number =>
  layerPages * pageBytes + tailBytes

/**
 * How many bytes a frame has when it is decompressed. `counts` are those of the layer, `frame` is its number.
 */
export function rawBytesOf(counts: Pick<FramedCounts, 'placedPages' | 'tailBytes'>, frame: number): number {
  const ofPages = pageFramesOf(counts)
  return frame < ofPages
    ? Math.min(frameBytes, counts.placedPages * pageBytes - frame * frameBytes)
    : Math.min(frameBytes, counts.tailBytes - (frame - ofPages) * frameBytes)
}

/**
 * Where the stored bytes of neighbouring frames lie: one ranged read brings all of them. `first` is the first
 * frame, `count` how many there are.
 */
export function rangeOfFrames({ offsets }: FramedIndex, first: number, count = 1): ByteRange {
  const offsetBytes = offsets[first] as number
  return { offsetBytes, lengthBytes: (offsets[first + count] as number) - offsetBytes }
}

/** What the frame table says of a frame. */
export function frameEntry({ table }: Pick<FramedIndex, 'table'>, frame: number): FrameEntry {
  const at = frame * rowBytes
  return {
    storedBytes: table.readUIntLE(at, 3),
    codec: frameCodecs[table[at + 3] as number] as FrameCodec,
    sha256: table.subarray(at + 4, at + rowBytes),
  }
}
