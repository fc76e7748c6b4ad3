export const patternNames = ['sparse', 'dense', 'scattered'] as const
export type PatternName = (typeof patternNames)[number]

export const wayNames = ['vanilla', 'example in C', 'example', 'paged', 'huge'] as const
export type WayName = (typeof wayNames)[number]

export const settings = ['without', 'with'] as const
export const moments = ['first', 'all'] as const
export type Moments = Record<(typeof moments)[number], number>

/** Of a round, what was measured of it, in ms. */
export interface VmFaultRow
  extends Partial<Record<PatternName, Partial<Record<WayName, number>>>>,
    Partial<Record<(typeof settings)[number], Moments>> {
  readonly round: number
  readonly load: number
}
