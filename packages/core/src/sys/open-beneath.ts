import { closeSync, constants, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import {
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  O_CLOEXEC,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  SYS_openat2,
} from './abi.js'
import { declare, errno, errnoName, errnoNumber, syscallError } from './libc.js'

// Safe: `path` is a string that koffi keeps for the call, `how` a struct open_how of 24 bytes that lives for
// it.
const openat2 = declare<[number, number, string, BigUint64Array, number], number | bigint>(
  'long syscall(long number, long directory, const char *path, uint64_t *how, long size)',
)
// Safe: both are strings that koffi keeps for the call.
const linkat = declare<[number, string, number, string, number]>(
  'int linkat(int fromDirectory, const char *from, int toDirectory, const char *to, int flags)',
)

/**
 * If the path has a `..` while something is renamed or mounted anywhere on the host, the kernel cannot tell
 * whether the path leads out of the directory, and gives EAGAIN.
 */
const maxRaces = 1000

/**
 * Opens a file in a directory whose content another user may change at any moment, also during this call.
 * Follows no symbolic link in any part of the path, and never leaves the directory. `path` is relative. The
 * other user must not be able to replace the directory itself. A link gives ELOOP, a path out of the
 * directory EXDEV, as `code`, like any error of open(2). HOST_UNSUPPORTED before Linux 5.6.
 */
export function openBeneath(directory: string, path: string, flags: number): number {
  const { O_DIRECTORY, O_NOFOLLOW } = constants
  const root = openSync(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW)
  try {
    const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    const how = BigUint64Array.of(BigInt(flags | O_CLOEXEC), 0n, BigInt(resolve))
    let number = 0
    for (let attempt = 0; attempt < maxRaces; attempt++) {
      const fd = Number(openat2(SYS_openat2, root, path, how, how.byteLength))
      if (fd >= 0) return fd
      number = errno()
      if (number !== errnoNumber.EAGAIN) break
    }
    const error = syscallError('openat2', number, `${path} in ${directory}`, codeOf(number))
    throw number === errnoNumber.ENOSYS
      ? error
      : Object.assign(new Error(error.message), { code: errnoName(number) })
  } finally {
    closeSync(root)
  }
}

const codeOf = (number: number) => (number === errnoNumber.ENOSYS ? 'HOST_UNSUPPORTED' : 'SYSCALL_FAILED')

/** The same for reading, as a handle. Does not wait for a FIFO. */
export async function openHandleBeneath(directory: string, path: string): Promise<FileHandle> {
  const fd = openBeneath(directory, path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    return await open(descriptorPath(fd), constants.O_RDONLY | constants.O_NONBLOCK)
  } finally {
    closeSync(fd)
  }
}

/** The path of a descriptor itself, independent of file names that may have changed. */
export function openPathBeneath(directory: string, path: string): number {
  return openBeneath(directory, path, O_PATH)
}

/** A path that leads to an open file, even if its names have changed. */
export const descriptorPath = (fd: number): string => `/proc/self/fd/${fd}`

/** Gives an open file another name; an existing one is EEXIST, another file system EXDEV (as `code`). */
export function linkDescriptor(fd: number, to: string): void {
  if (linkat(AT_FDCWD, descriptorPath(fd), AT_FDCWD, to, AT_SYMLINK_FOLLOW) === 0) return
  const number = errno()
  throw Object.assign(new Error(`linkat failed with ${errnoName(number)}: ${to}`), {
    code: errnoName(number),
  })
}
