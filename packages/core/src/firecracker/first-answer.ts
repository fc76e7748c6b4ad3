import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { FirstAbort } from '../first-abort.js'
import { type ApiClient, connectApi } from './api-client.js'
import { describeExit } from './vmm-exit.js'
import type { VmmProcess } from './vmm-process.js'

/** Firecracker needs some 10 ms; looking for a file costs some µs. */
const pollMs = 1

/** Waits for the API socket and its first answer, until the process ends, the signal, or the time-out. */
export async function firstAnswer(
  vmm: VmmProcess,
  { signal, timeoutMs }: { readonly signal?: AbortSignal | undefined; readonly timeoutMs: number },
): Promise<ApiClient> {
  const { apiSocket } = vmm.paths
  const timeout = AbortSignal.timeout(timeoutMs)
  const ended = new AbortController()
  void vmm.exited.then(() => ended.abort())
  using first = new FirstAbort([timeout, ended.signal, signal])
  const stop = first.signal
  try {
    for (;;) {
      if (existsSync(apiSocket)) {
        try {
          return await connectApi(apiSocket, { signal: stop })
        } catch (error) {
          // Bound but not listening yet, a few µs.
          if (codeOf(error) !== 'ECONNREFUSED') throw error
        }
      }
      await sleep(pollMs, undefined, { signal: stop })
    }
  } catch (error) {
    throwIfAborted(signal, 'the launch')
    if (vmm.exit)
      throw new VarveError(
        'LAUNCH_FAILED',
        `Firecracker ended at start (${describeExit(vmm.exit)}): ${vmm.lastWords()}`,
        { cause: error },
      )
    if (timeout.aborted)
      throw new VarveError(
        'TIMEOUT',
        `Firecracker’s API did not answer within ${timeoutMs} ms: ${vmm.lastWords()}`,
        { cause: error },
      )
    throw error
  }
}

const codeOf = (error: unknown): string | undefined =>
  ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code
