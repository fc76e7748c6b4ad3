import { VarveError } from '../../../errors.js'
import type { RegionSpec } from '../../../firecracker/state-file/replace-regions.js'
import { type ExtentMap, lookupPage, zeroSource } from '../../../layer/extent-map.js'
import { ExtentMapBuilder } from '../../../layer/extent-map-builder.js'
import { pageSizeBytes } from '../../../memory/units.js'

/** A region of a state file, as far as it matters here. */
export type Region = Pick<RegionSpec, 'guestAddress' | 'sizeBytes'> & { readonly fileOffset: number }

export interface PatchPlan {
  /** In place of the state file's own: the same guest addresses, other places in the file. Ascending. */
  readonly regions: readonly Region[]
  /** What the one file holds, by the layers' numbering. */
  readonly composed: ExtentMap
  /** Where the image's pages lie in it. */
  readonly image: ExtentMap
}

/**
 * 4 MiB, the largest piece that Linux's page allocator gives out (order 10), at multiples of its size: no
 * single allocation crosses such an address, so no virtio ring does.
 */
const alignPages = 1024
/**
 * Each region is a KVM slot of at most 32,764, a descriptor in Firecracker (up to 1.10, and 1,024 is the
 * usual limit of them), and some 80 µs of the load.
 */
const mostRegions = 256

export interface PatchLimits {
  readonly alignPages?: number
  readonly mostRegions?: number
}

/** Pages of guest and image in a row that are one region: of one source, or of several ones. */
interface Piece {
  readonly guestAddress: number
  readonly page: number
  pages: number
  /** `mixed` is laid out in the file as it lies in the image. */
  readonly source: number | 'mixed'
  readonly storedPage: number
}

/**
 * Cuts guest memory into regions that point into one file, in which long stretches lie as they do in their
 * layers, and runs of zeros are one hole that all share. Cuts are made at multiples of 4 MiB of guest
 * address, of 8 if that gives too many regions, and so on; if layers change more often than that, the pages
 * between two cuts lie in the file as in the image.
 */
export function planPatch(regions: readonly Region[], map: ExtentMap, limits: PatchLimits = {}): PatchPlan {
  const most = limits.mostRegions ?? mostRegions
  const areas = joined(regions, map.pages)
  if (areas.length > most)
    throw new VarveError('INVALID_ARGUMENT', `${areas.length} regions are more than ${most}`)
  for (let align = limits.alignPages ?? alignPages; ; align *= 2) {
    const pieces = areas.flatMap((area) => cut(area, map, align))
    if (pieces.length <= most) return layOut(pieces, map)
  }
}

interface Area {
  readonly guestAddress: number
  readonly page: number
  readonly pages: number
}

/** Neighbours as one: a snapshot of a patched VM has the cuts of its restore. */
function joined(regions: readonly Region[], pages: number): Area[] {
  const areas: { guestAddress: number; page: number; pages: number }[] = []
  let next = 0
  for (const { guestAddress, sizeBytes, fileOffset } of regions) {
    const area = { guestAddress, page: fileOffset / pageSizeBytes, pages: sizeBytes / pageSizeBytes }
    if (area.page !== next)
      throw new VarveError('IMAGE_MISMATCH', `region at ${guestAddress} is not behind the one before it`)
    next += area.pages
    const last = areas.at(-1)
    if (last !== undefined && last.guestAddress + last.pages * pageSizeBytes === guestAddress)
      last.pages += area.pages
    else areas.push(area)
  }
  if (next !== pages)
    throw new VarveError('IMAGE_MISMATCH', `the state is of ${next} pages of memory, the image of ${pages}`)
  return areas
}

function cut({ guestAddress, page: first, pages }: Area, map: ExtentMap, align: number): Piece[] {
  const pieces: Piece[] = []
  const end = first + pages
  for (let page = first; page < end; ) {
    const address = guestAddress + (page - first) * pageSizeBytes
    const count = Math.min(align - ((address / pageSizeBytes) % align), end - page)
    const found = lookupPage(map, page)
    const source = found.count >= count ? found.source : ('mixed' as const)
    const storedPage = source === 'mixed' ? 0 : found.storedPage
    const last = pieces.at(-1)
    if (last?.source === source && continues(last, storedPage)) last.pages += count
    else pieces.push({ guestAddress: address, page, pages: count, source, storedPage })
    page += count
  }
  return pieces
}

const continues = ({ source, storedPage, pages }: Piece, next: number) =>
  source === 'mixed' || source === zeroSource || storedPage + pages === next

/** In the file: layer after layer, each in its own order; what is mixed; the hole. */
function layOut(pieces: readonly Piece[], map: ExtentMap): PatchPlan {
  const rank = ({ source }: Piece) =>
    source === zeroSource ? Number.MAX_VALUE : source === 'mixed' ? maxSource : source
  const order = pieces.toSorted((a, b) => rank(a) - rank(b) || a.storedPage - b.storedPage || a.page - b.page)
  const composed = new ExtentMapBuilder(map.starts.length + 1)
  const places = new Map<Piece, number>()
  let place = 0
  let hole = 0
  for (const piece of order) {
    places.set(piece, place)
    if (piece.source === zeroSource) hole = Math.max(hole, piece.pages)
    else {
      for (const run of runsOf(map, piece)) composed.add(run.count, run.source, run.storedPage)
      place += piece.pages
    }
  }
  composed.add(hole, zeroSource, 0)
  const image = new ExtentMapBuilder(map.starts.length)
  for (const piece of pieces.toSorted((a, b) => a.page - b.page)) {
    const shift = (places.get(piece) as number) - piece.page
    for (const { page, count, source } of runsOf(map, piece))
      image.add(count, source === zeroSource ? zeroSource : 0, source === zeroSource ? 0 : page + shift)
  }
  const regions = pieces.map((piece) => ({
    guestAddress: piece.guestAddress,
    sizeBytes: piece.pages * pageSizeBytes,
    fileOffset: (places.get(piece) as number) * pageSizeBytes,
  }))
  return { regions, composed: composed.finish(), image: image.finish() }
}

/** Above every layer's number. */
const maxSource = 2 ** 16

function* runsOf(map: ExtentMap, { page: first, pages }: Piece) {
  for (let page = first; page < first + pages; ) {
    const { source, storedPage, count: together } = lookupPage(map, page)
    const count = Math.min(together, first + pages - page)
    yield { page, count, source, storedPage }
    page += count
  }
}
