import { isVarveError, VarveError } from '../errors.js'
import type { MapReport } from './map-into-vmm.js'

/** The mapper's answer lies in a pipe when Firecracker's comes. */
const answerTimeoutMs = 5000

/** Awaits a load and the mapping within it. Either failure causes the other; report the root cause. */
export async function loadedAndMapped(
  load: Promise<unknown>,
  mapped: Promise<MapReport>,
): Promise<MapReport> {
  try {
    await load
  } catch (error) {
    // A load that broke off with the VMM still there leaves the mapper waiting.
    if (!isVarveError(error, 'MACHINE_EXITED')) throw error
    const cause = await mapped.then(
      () => undefined,
      (failure: unknown) => failure,
    )
    if (cause === undefined || isVarveError(cause, 'MACHINE_EXITED')) throw error
    throw cause
  }
  // It was done before the load was answered; if not, guest memory is not the
  // image, and the caller ends the VM.
  const late = new Promise<never>((_, reject) => {
    setTimeout(
      () =>
        reject(
          new VarveError(
            'INJECTION_FAILED',
            'Firecracker loaded the snapshot without mapping its memory file',
            {
              remedy: 'use another engine with this version',
            },
          ),
        ),
      answerTimeoutMs,
    ).unref()
  })
  return Promise.race([mapped, late])
}
