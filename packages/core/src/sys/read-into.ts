import { constants, openSync } from 'node:fs'
import { declare, errno, errnoNumber, syscallError } from './libc.js'
import type { MemoryMapping } from './memory-map.js'

// Safe: the kernel checks the range it fills, and `readInto` that the range lies
// within memory that is ours to fill.
const pread = declare<[number, number, number, number], number | bigint>(
  'int64_t pread(int fd, uint64_t buffer, uint64_t count, int64_t offset)',
)

/**
 * Opened for reading past the page cache (O_DIRECT, open(2)); undefined if the file system has no such thing.
 */
export function openDirect(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECT)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return undefined
    throw error
  }
}

/**
 * Fills `lengthBytes` of anonymous memory of ours from a file, and gives how many bytes there were before its
 * end. For a descriptor of `openDirect` all three numbers must be multiples of the page size.
 */
export function readInto(
  fd: number,
  memory: MemoryMapping,
  atBytes: number,
  lengthBytes: number,
  offsetBytes: number,
): number {
  if (!(atBytes >= 0 && lengthBytes >= 0 && atBytes + lengthBytes <= memory.lengthBytes))
    throw syscallError(
      'pread',
      errnoNumber.EFAULT,
      `${atBytes}+${lengthBytes} of ${memory.lengthBytes} bytes`,
    )
  let done = 0
  while (done < lengthBytes) {
    const bytes = Number(pread(fd, memory.address + atBytes + done, lengthBytes - done, offsetBytes + done))
    if (bytes === 0) break
    if (bytes > 0) done += bytes
    else if (errno() !== errnoNumber.EINTR)
      throw syscallError('pread', errno(), `${lengthBytes} bytes at ${offsetBytes} of descriptor ${fd}`)
  }
  return done
}
