import type { OwnerPart } from '@varve/guest'

/** What a page holds, in the order of the report's colours: f0 (full) and o0 (under text) in style.ts. */
export const partsByColour: readonly OwnerPart[] = [
  'unexplained',
  'file',
  'anonymous',
  'kernel',
  'shared memory',
  'stack',
  'private copy',
  'free',
  'heap',
]
