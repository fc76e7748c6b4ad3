import type { ProcessIdentity } from '../sys/proc.js'
import type { MappedRegion } from './mapped-region.js'

/** An image that lies in the memory of a process which stands still for ever. */
export interface FrozenSource {
  readonly process: ProcessIdentity
  /** In the order of the image, from its first page on, without a gap. */
  readonly regions: readonly MappedRegion[]
}

export const frozenPagesOf = ({ regions }: Pick<FrozenSource, 'regions'>): number =>
  regions.reduce((sum, { pages }) => sum + pages, 0)
