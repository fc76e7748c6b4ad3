import { setTimeout as sleep } from 'node:timers/promises'
import { isVarveError, VarveError } from '../errors.js'
import type { LaunchedMachine } from '../machine/launched-machine.js'

/** Another process may find a VMM dead, and remove its directory, before its end is reported to this one. */
const exitGraceMs = 1000

/**
 * The error of a failed restore. If the VMM was killed, any process that lists machines may have removed its
 * directory. An error about a missing file there, from this process or from the page server, is a
 * consequence; report the end of the VMM as the cause.
 */
export async function failureOf(
  machine: Pick<LaunchedMachine, 'exitedError'> | undefined,
  error: unknown,
): Promise<unknown> {
  if (machine === undefined || (isVarveError(error) && error.code !== 'PAGE_SERVER_PROTOCOL')) return error
  const late = new AbortController()
  try {
    const ended = await Promise.race([
      machine.exitedError(),
      sleep(exitGraceMs, undefined, { signal: late.signal }),
    ])
    return ended === undefined ? error : new VarveError(ended.code, ended.message, { cause: error })
  } finally {
    late.abort()
  }
}
