import { VarveError } from '../errors.js'

/** INTERRUPTED where the signal is set; `what` is the thing that was worked on. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true)
    throw new VarveError('INTERRUPTED', `work on ${what} was interrupted`, { cause: signal.reason })
}
