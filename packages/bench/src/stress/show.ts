/** A failure of `await using`, whose clean-up failed too. By name: Node 20 has no such class. */
export interface SuppressedFailure extends Error {
  /** Of the clean-up. */
  readonly error: unknown
  /** The first one. */
  readonly suppressed: unknown
}

export const isSuppressedError = (error: unknown): error is SuppressedFailure =>
  error instanceof Error && error.name === 'SuppressedError'

/** An error with its code, stack and causes, for people. */
export function describeError(error: unknown): string {
  if (isSuppressedError(error))
    return `${describeError(error.suppressed)}\n  and in the clean-up ${describeError(error.error)}`
  if (!(error instanceof Error)) return String(error)
  const { code: known, details: all = {} } = error as { code?: unknown; details?: object }
  const code = known === undefined ? '' : `[${known}] `
  const details = Object.keys(all).length === 0 ? '' : `\n  details ${JSON.stringify(all)}`
  const cause = error.cause === undefined ? '' : `\n  caused by ${describeError(error.cause)}`
  return `${code}${error.stack ?? error.message}${details}${cause}`
}
