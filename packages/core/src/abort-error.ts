import { VarveError } from './errors.js'

/**
 * The error of work that an aborted signal ended: TIMEOUT if the signal says that time was up
 * (`AbortSignal.timeout`, or an abort with a TIMEOUT of Varve), else INTERRUPTED. The abort's reason is the
 * `cause`, and `details.reason` is its text. `work` is what was ended, as a noun: "the launch".
 */
export function abortError(signal: AbortSignal | undefined, work: string): VarveError {
  const reason: unknown = signal?.reason
  const timedOut = isTimeout(reason)
  return new VarveError(
    timedOut ? 'TIMEOUT' : 'INTERRUPTED',
    timedOut ? `${work} did not end before the caller's signal timed out` : `${work} was interrupted`,
    { cause: reason, details: { reason: textOf(reason) } },
  )
}

/** Throws the error of an aborted signal: TIMEOUT or INTERRUPTED. `work` is what it ended, as a noun. */
export function throwIfAborted(signal: AbortSignal | undefined, work: string): void {
  if (signal?.aborted === true) throw abortError(signal, work)
}

function isTimeout(reason: unknown): boolean {
  if (reason instanceof VarveError) return reason.code === 'TIMEOUT'
  return reason instanceof Error && reason.name === 'TimeoutError'
}

/** A reason may be any value. A caller's object is not printed, because it may hold secrets. */
function textOf(reason: unknown): string {
  if (reason instanceof Error) return `${reason.name}: ${reason.message}`
  return typeof reason === 'string' ? reason : typeof reason
}
