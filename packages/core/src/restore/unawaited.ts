/**
 * The same promise, marked as handled: it may fail while nothing awaits it. The failure is thrown where the
 * promise is awaited later, or it is the consequence of one that is thrown.
 */
export function unawaited<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
