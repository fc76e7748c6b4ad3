import { type ErrorCode, VarveError } from '../../errors.js'

/** The result of one check before a restore. */
export interface SnapshotCheck {
  /** The name of the check. */
  readonly id: string
  /**
   * `fail`: a restore here fails, or its guest cannot work. `warn`: it works, with a consequence worth
   * knowing.
   */
  readonly status: 'ok' | 'warn' | 'fail'
  /** What was found, as a sentence for people. */
  readonly says: string
  /** What to do about it; set for every warn and fail. */
  readonly remedy?: string
  /** The public issue that it is about. */
  readonly source?: string
  /** The code of the error that a restore would give; set for every fail. */
  readonly code?: ErrorCode
}

export const ok = (id: string, says: string): SnapshotCheck => ({ id, status: 'ok', says })
export const warn = (id: string, says: string, remedy: string): SnapshotCheck => ({
  id,
  status: 'warn',
  says,
  remedy,
})
export const fail = (id: string, code: ErrorCode, says: string, remedy: string): SnapshotCheck => ({
  id,
  status: 'fail',
  says,
  remedy,
  code,
})

/** A restore refuses with the words of the check that failed. */
export function assertPassed(check: SnapshotCheck): void {
  if (check.status !== 'fail') return
  throw new VarveError(check.code ?? 'HOST_UNSUPPORTED', check.says, {
    details: { check: check.id },
    ...(check.remedy === undefined ? {} : { remedy: check.remedy }),
  })
}
