import { closeSync, constants, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { declare, errno, errnoName, errnoNumber, syscallError } from './libc.js'

// asm-generic/unistd.h and asm/unistd_64.h: one number on every architecture (Linux 5.6).
const SYS_openat2 = 437
// linux/openat2.h
const RESOLVE_NO_MAGICLINKS = 0x02
const RESOLVE_NO_SYMLINKS = 0x04
const RESOLVE_BENEATH = 0x08
// fcntl.h; Node does not name these.
const O_PATH = 0o10000000
const O_CLOEXEC = 0o2000000
const AT_FDCWD = -100
const AT_SYMLINK_FOLLOW = 0x400

// Safe: `path` is a string that koffi keeps for the call, `how` a struct open_how of 24 bytes that lives for it.
const openat2 = declare<[number, number, string, BigUint64Array, number], number | bigint>(
  'long syscall(long number, long directory, const char *path, uint64_t *how, long size)',
)
// Safe: both are strings that koffi keeps for the call.
const linkat = declare<[number, string, number, string, number]>(
  'int linkat(int fromDirectory, const char *from, int toDirectory, const char *to, int flags)',
)

/**
 * Opens a file in a directory whose content another user may change at any moment, also while this looks for it: no symbolic
 * link is followed, wherever in the path it is, and nothing above the directory is reached. `path` is relative. The directory
 * itself must be one that the other user cannot replace. Not followed is ELOOP, left is EXDEV; like any error of open(2) they
 * come as `code`. HOST_UNSUPPORTED before Linux 5.6.
 */
export function openBeneath(directory: string, path: string, flags: number): number {
  const { O_DIRECTORY, O_NOFOLLOW } = constants
  const root = openSync(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW)
  try {
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    const how = BigUint64Array.of(BigInt(flags | O_CLOEXEC), 0n, BigInt(resolve))
    const fd = Number(openat2(SYS_openat2, root, path, how, how.byteLength))
    if (fd >= 0) return fd
    const number = errno()
    const error = syscallError('openat2', number, `${path} in ${directory}`, codeOf(number))
    throw number === errnoNumber.ENOSYS
      ? error
      : Object.assign(new Error(error.message), { code: errnoName(number) })
  } finally {
    closeSync(root)
  }
}

const codeOf = (number: number) => (number === errnoNumber.ENOSYS ? 'HOST_UNSUPPORTED' : 'SYSCALL_FAILED')

/** The same for reading, as a handle. A FIFO is not waited for. */
export async function openHandleBeneath(directory: string, path: string): Promise<FileHandle> {
  const fd = openBeneath(directory, path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    return await open(descriptorPath(fd), constants.O_RDONLY | constants.O_NONBLOCK)
  } finally {
    closeSync(fd)
  }
}

/** A descriptor itself, for whom it is without a look at file names that may have changed. */
export function openPathBeneath(directory: string, path: string): number {
  return openBeneath(directory, path, O_PATH)
}

/** An open file by a path: whatever its names are by now, it is that file. */
export const descriptorPath = (fd: number): string => `/proc/self/fd/${fd}`

/** Gives an open file another name; an existing one is EEXIST, another file system EXDEV (as `code`). */
export function linkDescriptor(fd: number, to: string): void {
  if (linkat(AT_FDCWD, descriptorPath(fd), AT_FDCWD, to, AT_SYMLINK_FOLLOW) === 0) return
  const number = errno()
  throw Object.assign(new Error(`linkat failed with ${errnoName(number)}: ${to}`), {
    code: errnoName(number),
  })
}
