import { VarveError } from '../errors.js'
import type { RecordTarget } from './recording.js'

/** Without an extent map only one file can be the image. */
export function checkTarget({ files, map }: RecordTarget): void {
  if (files.length === 0 || (map === undefined && files.length !== 1))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${files.length} memory files without an extent map: one is needed`,
    )
}

/** Pages of the image that is recorded. */
export function pagesOfTarget({ files, map }: RecordTarget): number {
  return map?.pages ?? files[0]?.storedPages ?? 0
}
