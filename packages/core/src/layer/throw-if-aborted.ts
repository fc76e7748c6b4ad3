import { abortError } from '../abort-error.js'

/** `abortError` if the signal is aborted; `what` is the thing that is worked on. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw abortError(signal, `work on ${what}`)
}
