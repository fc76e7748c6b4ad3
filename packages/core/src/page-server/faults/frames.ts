import { VarveError } from '../../errors.js'
import { type ExtentMap, zeroSource } from '../../layer/extent-map.js'
import { framePages, hugePageBytes, pageSizeBytes } from '../../memory/units.js'
import { Gather } from '../../sys/gather.js'
import { type MemoryMapping, mapAnonymous, populateForReading } from '../../sys/memory-map.js'
import type { Pagemap } from '../../sys/pagemap.js'
import type { CopySource, InstallResult, UserfaultOps } from '../../sys/userfaultfd.js'
import { type FramePiece, framePieces, type KnownRemovals } from './frame-pieces.js'

/** How long a guest waits for a huge page that the host does not have. */
const starvesMs = 2000

interface Workspace {
  readonly staging: MemoryMapping
  readonly zeros: MemoryMapping
  readonly gather: Gather
}

/** Of all VMs of a thread: a frame that was put together is copied at once. */
let shared: Workspace | undefined

function workspace(): Workspace {
  shared ??= {
    staging: mapAnonymous(hugePageBytes),
    zeros: mapAnonymous(hugePageBytes),
    gather: new Gather(framePages),
  }
  return shared
}

/** `starved`: the host has no huge page for it at the moment. */
export type FrameResult = InstallResult | 'starved'

/** One that waits for frames, since when in vain. */
export interface FrameAsker {
  starvesSince?: number | undefined
}

/**
 * Installs frames of a guest whose memory is huge pages: the kernel takes 2 MiB of it at a time
 * (docs/notes/huge-pages.md). A frame that lies in one layer in a row, or is all zero, is copied from where
 * it is; any other is put together first.
 */
export class Frames {
  readonly #map: ExtentMap
  readonly #layers: readonly CopySource[]
  readonly #removed: KnownRemovals
  readonly #pagemap: Pick<Pagemap, 'isPresent'>
  readonly #workspace = workspace()

  /** `pagemap`: of the VMM. */
  constructor(parts: {
    readonly map: ExtentMap
    readonly layers: readonly CopySource[]
    readonly removed: KnownRemovals
    readonly pagemap: Pick<Pagemap, 'isPresent'>
  }) {
    this.#map = parts.map
    this.#layers = parts.layers
    this.#removed = parts.removed
    this.#pagemap = parts.pagemap
  }

  /** Where the frame from image page `first` on comes from. */
  pieces(first: number): readonly FramePiece[] {
    return framePieces(this.#map, this.#removed, first)
  }

  /** Where its bytes are, until the next call. */
  assemble(pieces: readonly FramePiece[]): { readonly source: CopySource; readonly offsetBytes: number } {
    const { staging, zeros, gather } = this.#workspace
    const [only] = pieces
    if (pieces.length === 1 && only !== undefined) {
      const source = only.source === zeroSource ? zeros : this.#layer(only)
      const offsetBytes = only.storedPage * pageSizeBytes
      // Else the kernel takes a second huge page for the time of the copy.
      populateForReading(source.address + offsetBytes, hugePageBytes)
      return { source, offsetBytes }
    }
    for (const piece of pieces) {
      const bytes = piece.pages * pageSizeBytes
      if (piece.source === zeroSource) gather.add(zeros.address, bytes)
      else gather.add(this.#layer(piece).address + piece.storedPage * pageSizeBytes, bytes)
    }
    gather.into(staging)
    return { source: staging, offsetBytes: 0 }
  }

  /** IMAGE_MISMATCH if the layer does not have the piece. */
  #layer({ source, storedPage, pages }: FramePiece): CopySource {
    const layer = this.#layers[source]
    if (layer === undefined || (storedPage + pages) * pageSizeBytes > layer.lengthBytes)
      throw new VarveError('IMAGE_MISMATCH', `layer ${source} has no pages ${storedPage}+${pages}`)
    return layer
  }

  /**
   * Installs the frame of image page `first` at `address`. HOST_UNSUPPORTED if the host had no huge page for
   * `asker` for two seconds.
   */
  install(
    ops: Pick<UserfaultOps, 'copy'>,
    address: number,
    first: number,
    asker: FrameAsker,
    protect = false,
  ): FrameResult {
    const { source, offsetBytes } = this.assemble(this.pieces(first))
    const result = this.copy(ops, address, source, offsetBytes, protect)
    const since = result === 'starved' ? (asker.starvesSince ?? performance.now()) : undefined
    const ends = since !== undefined && performance.now() - since >= starvesMs
    asker.starvesSince = ends ? undefined : since
    if (ends) throw noHugePage()
    return result
  }

  /**
   * Copies what was assembled. Without a free huge page the kernel says ENOMEM, or that the frame is there
   * although it is not.
   */
  copy(
    ops: Pick<UserfaultOps, 'copy'>,
    address: number,
    source: CopySource,
    offsetBytes: number,
    protect = false,
  ): FrameResult {
    try {
      const result = ops.copy(address, source, offsetBytes, hugePageBytes, protect)
      return result === 'exists' && !this.isThere(address) ? 'starved' : result
    } catch (error) {
      if (error instanceof VarveError && error.details.errno === 'ENOMEM') return 'starved'
      throw error
    }
  }

  /** Whether the VMM has the frame in its page tables. */
  isThere(address: number): boolean {
    return this.#pagemap.isPresent(address)
  }
}

export function noHugePage(): VarveError {
  return new VarveError(
    'HOST_UNSUPPORTED',
    'the host has no huge page of 2 MiB left for the memory of this VM: raise vm.nr_hugepages',
  )
}
