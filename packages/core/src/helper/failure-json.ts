import { type ErrorCode, errorRegistry, VarveError } from '../errors.js'

/** An error on its way from a helper to its owner. */
export interface FailureJson {
  readonly code: string
  readonly message: string
  readonly remedy?: string
}

/** `otherwise`: the code of an error that has none of ours. */
export function failureToJson(error: unknown, otherwise: ErrorCode): FailureJson {
  if (!(error instanceof VarveError)) return { code: otherwise, message: String(error) }
  const { code, message, remedy } = error
  return { code, message, ...(remedy === undefined ? {} : { remedy }) }
}

export function failureFromJson({ code, message, remedy }: FailureJson, otherwise: ErrorCode): VarveError {
  const known = code in errorRegistry ? (code as ErrorCode) : otherwise
  return new VarveError(known, message, { remedy })
}
