import { VarveError, type VarveErrorOptions } from './errors.js'

/**
 * The kind of thing that was not found, in `details.kind`. A blob is a file of a store: a layer, map, state
 * or disk.
 */
export const notFoundKinds = [
  'snapshot',
  'working set',
  'tag',
  'store',
  'blob',
  'machine',
  'guest',
  'process',
  'file',
  'directory',
  'experiment',
  'lab function',
] as const
/** One of `notFoundKinds`. */
export type NotFoundKind = (typeof notFoundKinds)[number]

/**
 * The only maker of NOT_FOUND errors, so that each says in `details.kind` what was not found. `kind` and
 * `message` name the thing.
 */
export function notFound(kind: NotFoundKind, message: string, options: VarveErrorOptions = {}): VarveError {
  return new VarveError('NOT_FOUND', message, { ...options, details: { kind, ...options.details } })
}

/**
 * For a path that could not be opened or read: NOT_FOUND if there is nothing, else PATH_INVALID. `cause` is
 * the error of the system call, `message` says what could not be done.
 */
export function pathError(
  cause: unknown,
  message: string,
  {
    kind = 'file',
    ...options
  }: VarveErrorOptions & {
    /** What was to be at the path. Default `file`. */
    readonly kind?: NotFoundKind
  } = {},
): VarveError {
  const { code } = cause as NodeJS.ErrnoException
  return code === 'ENOENT'
    ? notFound(kind, message, { cause, ...options })
    : new VarveError('PATH_INVALID', message, { cause, ...options })
}
