import { VarveError } from '../errors.js'
import { memoryUse, type ProcessIdentity } from '../sys/proc.js'

/**
 * How many bytes only a frozen process still has: copies that writes of the guest have cost. Null if it has
 * ended. Walks its page tables: some ms for each GiB.
 */
export const copiedBytesOf = (pid: number): number | null => memoryUse(pid)?.privateDirtyBytes ?? null

/**
 * HOST_UNSUPPORTED if they are more than the caller allowed, else undefined. `process` is the one to name.
 */
export function tooManyCopies(
  { pid }: Pick<ProcessIdentity, 'pid'>,
  copiedBytes: number,
  mostCopiedBytes: number,
  remedy: string,
): VarveError | undefined {
  if (copiedBytes <= mostCopiedBytes) return undefined
  return new VarveError(
    'HOST_UNSUPPORTED',
    `the frozen memory of process ${pid} takes ${copiedBytes} bytes of its own, more than ${mostCopiedBytes}`,
    { remedy },
  )
}
