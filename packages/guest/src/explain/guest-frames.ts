import { pageSizeBytes } from 'varve'
import type { MemoryRegion } from 'varve/state-files'

/** Page frames of a guest's kernel, and the pages of the image that they are. */
export interface GuestFrames {
  /** One behind the last frame. */
  readonly end: number
  /** The image page of a frame; -1 for a frame that no region has. */
  pageOf(frame: number): number
  /** Calls `each` for the parts of a run of frames that regions have: image page, first frame, length. */
  forEachPart(frame: number, count: number, each: (page: number, frame: number, count: number) => void): void
}

/** `regions` as a state file lists them: they do not overlap, and their addresses are whole pages. */
export function guestFrames(
  regions: readonly Pick<MemoryRegion, 'guestAddress' | 'sizeBytes' | 'fileOffset'>[],
): GuestFrames {
  const sorted = regions
    .map(({ guestAddress, sizeBytes, fileOffset }) => ({
      frame: guestAddress / pageSizeBytes,
      end: (guestAddress + sizeBytes) / pageSizeBytes,
      page: fileOffset / pageSizeBytes,
    }))
    .sort((a, b) => a.frame - b.frame)

  /** Index of the first region that ends behind `frame`. */
  const regionAt = (frame: number): number => {
    let [low, high] = [0, sorted.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sorted[middle] as (typeof sorted)[0]).end <= frame) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    end: sorted.at(-1)?.end ?? 0,
    pageOf: (frame) => {
      const region = sorted[regionAt(frame)]
      return region === undefined || frame < region.frame ? -1 : region.page + frame - region.frame
    },
    forEachPart: (frame, count, each) => {
      const end = frame + count
      for (let i = regionAt(frame); i < sorted.length; i++) {
        const region = sorted[i] as (typeof sorted)[0]
        if (region.frame >= end) return
        const from = Math.max(frame, region.frame)
        each(region.page + from - region.frame, from, Math.min(end, region.end) - from)
      }
    },
  }
}
