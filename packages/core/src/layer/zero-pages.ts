import { pageSizeBytes } from '../memory/units.js'

const zeroPage = Buffer.alloc(pageSizeBytes)

/**
 * Whether a page of the buffer is all zero. Most data pages differ in the first
 * word, which spares the comparison.
 */
export function isZeroPage(buffer: Buffer, offset: number): boolean {
  return (
    buffer.readInt32LE(offset) === 0 &&
    buffer.compare(zeroPage, 0, pageSizeBytes, offset, offset + pageSizeBytes) === 0
  )
}
