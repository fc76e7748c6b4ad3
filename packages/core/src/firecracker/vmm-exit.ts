/** How a VMM ended; both null if only its parent could know. */
export interface VmmExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export function describeExit(exit: VmmExit): string {
  if (exit.signal !== null) return `signal ${exit.signal}`
  return exit.code === null ? 'status unknown' : `status ${exit.code}`
}
