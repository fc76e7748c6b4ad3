import { isVarveError, type VarveError } from '../errors.js'
import type { VmmProcess } from '../firecracker/vmm-process.js'

/**
 * How long a broken API connection waits for the process's end, to tell "it died" from "the socket broke".
 */
const exitGraceMs = 1000

/** The API never times out by itself: a dead VMM, not a clock, ends the wait. */
export async function untilExit<T>(
  process: VmmProcess,
  run: () => Promise<T>,
  exitError: (cause?: unknown) => VarveError,
): Promise<T> {
  const work = run()
  let leave = () => {}
  const exited = new Promise<'exited'>((resolve) => {
    leave = process.onExit(() => resolve('exited'))
  })
  const outcome = await Promise.race([
    work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    ),
    exited,
  ])
  leave()
  if (outcome === 'exited') {
    // An answer that was already on the wire (the fault message of a failed load)
    // is worth more than "it exited".
    const late = await Promise.race([work.catch((error: unknown) => error), delay(50)])
    throw isVarveError(late, 'API_REFUSED') || isVarveError(late, 'LOAD_FAILED') ? late : exitError()
  }
  if ('value' in outcome) return outcome.value
  if (isVarveError(outcome.error, 'API_TRANSPORT')) {
    await Promise.race([process.exited, delay(exitGraceMs)])
    if (process.exit) throw exitError(outcome.error)
  }
  throw outcome.error
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
}
