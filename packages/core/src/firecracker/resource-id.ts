import { VarveError } from '../errors.js'

/**
 * Ids of drives, interfaces and other devices: Firecracker accepts letters, digits and underscores. Refusing
 * the rest also keeps whole what the id becomes a part of, an API path or a file name.
 */
export function assertResourceId(what: string, id: string): string {
  if (/^[A-Za-z0-9_]{1,64}$/.test(id)) return id
  throw new VarveError(
    'INVALID_ARGUMENT',
    `${what} ${JSON.stringify(id)} is not 1–64 letters, digits or underscores`,
  )
}
