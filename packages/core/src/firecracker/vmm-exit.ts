/** How a VMM ended; both null if only its parent could know. */
export interface VmmExit {
  /** Its exit status; null if a signal ended it. */
  readonly code: number | null
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  /** The signal that ended it; null if it exited by itself. */
  readonly signal: NodeJS.Signals | null
}

export function describeExit(exit: VmmExit): string {
  if (exit.signal !== null) return `signal ${exit.signal}`
  return exit.code === null ? 'status unknown' : `status ${exit.code}`
}
