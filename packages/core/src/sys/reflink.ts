import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { FICLONE, FICLONERANGE, PUNCH_HOLE_KEEP_SIZE } from './abi.js'
import { declare, errno, errnoName, errnoNumber, syscallError } from './libc.js'
import { temporaryName } from './temporary-name.js'

// Safe: FICLONE takes a descriptor, no memory.
const ioctlNumber = declare<[number, number, number]>(
  'int ioctl(int fd, unsigned long request, unsigned long argument)',
)
// Safe: the buffer lives for the call and holds struct file_clone_range, 32 bytes.
const ioctlBuffer = declare<[number, number, Uint8Array]>(
  'int ioctl(int fd, unsigned long request, uint8_t *argument)',
)
// Safe: both offset pointers are null or point at 8-byte buffers that live for the call.
const copyFileRangeCall = declare<[number, Uint8Array, number, Uint8Array, number, number], number | bigint>(
  'int64_t copy_file_range(int from, uint8_t *fromOffset, int to, uint8_t *toOffset, uint64_t length, uint32_t flags)',
)

const unsupported = new Set([
  errnoNumber.EOPNOTSUPP,
  errnoNumber.ENOTTY,
  errnoNumber.EXDEV,
  errnoNumber.EINVAL,
  errnoNumber.ENOSYS,
  errnoNumber.ETXTBSY,
])

/** Shares a block-aligned range between two files of one file system; false if that cannot be done there. */
export function cloneRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  lengthBytes: number,
): boolean {
  const argument = Buffer.alloc(32)
  argument.writeBigInt64LE(BigInt(from), 0)
  argument.writeBigUInt64LE(BigInt(fromOffset), 8)
  argument.writeBigUInt64LE(BigInt(lengthBytes), 16)
  argument.writeBigUInt64LE(BigInt(toOffset), 24)
  if (ioctlBuffer(to, FICLONERANGE, argument) === 0) return true
  const number = errno()
  if (unsupported.has(number)) return false
  throw syscallError('FICLONERANGE', number, `${lengthBytes} bytes at ${fromOffset}`)
}

/**
 * Copies within the kernel (copy_file_range(2)). Gives the bytes copied: fewer than asked at the end of the
 * source, undefined if the two files cannot be copied between this way.
 */
export function copyFileRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  lengthBytes: number,
): number | undefined {
  const source = Buffer.alloc(8)
  const target = Buffer.alloc(8)
  source.writeBigInt64LE(BigInt(fromOffset))
  target.writeBigInt64LE(BigInt(toOffset))
  let done = 0
  while (done < lengthBytes) {
    const copied = Number(copyFileRangeCall(from, source, to, target, lengthBytes - done, 0))
    if (copied === 0) return done
    if (copied < 0) {
      const number = errno()
      if (number === errnoNumber.EINTR) continue
      if (done === 0 && unsupported.has(number)) return undefined
      throw syscallError('copy_file_range', number, `${lengthBytes} bytes at ${fromOffset}`)
    }
    done += copied
  }
  return done
}

/** 'works', or the reason why files in `directory` cannot share blocks. */
export function probeReflink(directory: string): string {
  let source: number | undefined
  let target: number | undefined
  try {
    source = openNameless(directory)
    target = openNameless(directory)
    writeSync(source, Buffer.alloc(4096, 1))
    return ioctlNumber(target, FICLONE, source) === 0 ? 'works' : errnoName(errno())
  } catch (error) {
    return (error as Error).message
  } finally {
    for (const fd of [source, target]) if (fd !== undefined) closeSync(fd)
  }
}

/**
 * A new file that goes with its descriptor. Its name is there for a moment: a process that is killed in
 * between leaves a temporary, which the next maker of a file in that directory removes (temporaries.ts).
 * O_TMPFILE has no name at all, but not every file system has it.
 */
function openNameless(directory: string): number {
  const path = join(directory, temporaryName())
  const fd = openSync(path, 'wx+', 0o600)
  try {
    unlinkSync(path)
  } catch (error) {
    // Before it is locked, another process may take it for left over.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      closeSync(fd)
      throw error
    }
  }
  return fd
}

// Safe: integers only.
const fallocate = declare<[number, number, number, number]>(
  'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
)

/**
 * Allocates the blocks for a file's first bytes, which read as zero: later writes there need no more room.
 * False if the file system cannot do that.
 */
export function allocate(fd: number, lengthBytes: number): boolean {
  if (fallocate(fd, 0, 0, lengthBytes) === 0) return true
  const number = errno()
  if (unsupported.has(number)) return false
  throw syscallError('fallocate', number, `${lengthBytes} bytes`)
}

/** Gives a range's blocks back; it reads as zero then. False if the file system cannot do that. */
export function punchHole(fd: number, offset: number, lengthBytes: number): boolean {
  if (fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset, lengthBytes) === 0) return true
  const number = errno()
  if (unsupported.has(number)) return false
  throw syscallError('fallocate', number, `hole of ${lengthBytes} bytes at ${offset}`)
}
