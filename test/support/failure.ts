import { isVarveError, type VarveError } from 'varve'

/** The error with which this must fail. */
export async function failure(promise: Promise<unknown>): Promise<VarveError> {
  const error = await promise.then(
    () => new Error('expected a rejection'),
    (reason: unknown) => reason,
  )
  if (!isVarveError(error)) throw error
  return error
}
