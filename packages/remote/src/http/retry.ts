import { setTimeout as delay } from 'node:timers/promises'
import { isVarveError, throwIfAborted } from 'varve'
import type { HttpLimits } from './limits.js'

/**
 * Repeats work that PLACE_UNREACHABLE ended, until `retryForMs` have passed. The waits are random, so that
 * many clients of a store that comes back do not ask at the same moment.
 */
export async function retrying<T>(
  work: () => Promise<T>,
  limits: HttpLimits,
  signal: AbortSignal | undefined,
  what: string,
): Promise<T> {
  const end = performance.now() + limits.retryForMs
  for (let ceiling = limits.firstDelayMs; ; ceiling = Math.min(2 * ceiling, limits.maxDelayMs)) {
    throwIfAborted(signal, what)
    try {
      return await work()
    } catch (error) {
      if (!isVarveError(error, 'PLACE_UNREACHABLE')) throw error
      const asked = Number(error.details.retryAfterMs ?? 0)
      const wait = Math.max(Math.random() * ceiling, Math.min(asked, limits.maxDelayMs))
      if (performance.now() + wait > end) throw error
      await delay(wait, undefined, { signal }).catch(() => throwIfAborted(signal, what))
    }
  }
}
