import { VarveError } from '../errors.js'
import type { ByteRange } from './blob-source.js'

/** INVALID_ARGUMENT if the range is not within `sizeBytes`. */
export function assertRange({ offsetBytes, lengthBytes }: ByteRange, sizeBytes: number, name: string): void {
  const whole = [offsetBytes, lengthBytes].every((it) => Number.isSafeInteger(it) && it >= 0)
  if (!whole || offsetBytes + lengthBytes > sizeBytes)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `bytes ${offsetBytes}+${lengthBytes} are not within the ${sizeBytes} bytes of ${name}`,
    )
}
