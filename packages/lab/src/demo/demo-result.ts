import type { SetRow } from '../experiments/rows.js'

/** Everything that the demo found, as plain data: `--json` prints it and the report renders it. */
export interface DemoResult {
  readonly createdAt: string
  readonly lab: 'native' | 'nested'
  readonly environment: Readonly<Record<string, string>>
  readonly guest: { readonly memoryMib: number; readonly pages: number; readonly bootMs: number }
  readonly layers: readonly DemoLayer[]
  readonly workingSet: {
    /** What the guest was told to touch. */
    readonly told: ClassCounts
    /** What mincore (present) and the next Diff (written) found. */
    readonly found: ClassCounts
    /** Pages found but not asked for, with the reason for each kind. */
    readonly extra: readonly { readonly pages: number; readonly why: string }[]
    readonly missing: number
  }
  /** What the recorders found, for the report's pictures. */
  readonly set: SetRow
  readonly heatMap: DemoHeatMap
  readonly restores: readonly DemoRestore[]
  readonly checks: readonly { readonly what: string; readonly result: string }[]
}

export interface ClassCounts {
  readonly present: number
  readonly written: number
  readonly readOnly: number
}

export interface DemoLayer {
  readonly name: string
  readonly kind: 'full' | 'diff'
  readonly dataPages: number
  readonly zeroPages: number
  readonly absentPages: number
  readonly allocatedBytes: number
  /** Time the guest stood still. */
  readonly pauseMs: number
}

/** Cells in reading order; each is the class that most of its pages have, busier classes first. */
export interface DemoHeatMap {
  readonly columns: number
  readonly rows: number
  readonly pagesPerCell: number
  readonly cells: readonly PageClassName[]
}

export type PageClassName = 'zero' | 'cold' | 'read-only' | 'written'

/** What works wherever Firecracker does; `mapped` needs more rights. */
export const demoEngines = ['file', 'paged'] as const

export interface DemoRestore {
  readonly engine: (typeof demoEngines)[number]
  /** Request to first answer of the guest, milliseconds, one a round. */
  readonly firstAnswerMs: readonly number[]
  /** Request to the end of the guest's pass over its pages, milliseconds, one a round. */
  readonly wholePassMs: readonly number[]
}
