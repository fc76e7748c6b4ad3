export type CacheState = 'cold' | 'warm'

/** One restore, or several at once. Times are from the request, those of the last of several. */
export interface RestoreRow {
  readonly memoryMib: number
  readonly setMib: number
  readonly cache: CacheState
  /** So many restores at once. */
  readonly clones?: number
  /** Layers of the chain. */
  readonly depth?: number
  readonly contender: string
  readonly round: number
  readonly restoredMs?: number
  readonly firstMs?: number
  /** Until the last page of the working set was touched. */
  readonly lastMs: number
  /** The same pass again; absent of what is no restore. */
  readonly warmPassMs?: number
  readonly readMib?: number
  readonly load?: number
  readonly rssMib?: number
  readonly reason?: string
  readonly phasesMs?: Readonly<Record<string, number>>
}

/** What is the same for all contenders that are compared with each other. */
export type Place = Pick<RestoreRow, 'memoryMib' | 'setMib' | 'clones' | 'depth'>

export function placeOf({ memoryMib, setMib, clones, depth }: Place): string {
  const more = [
    ...(clones === undefined ? [] : [`${clones} at once`]),
    ...(depth === undefined ? [] : [`${depth} layers`]),
  ]
  return [`${memoryMib} MiB`, `set ${setMib} MiB`, ...more].join(', ')
}
