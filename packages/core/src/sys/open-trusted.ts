import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { O_PATH } from './abi.js'
import { declare, errno, syscallError } from './libc.js'
import { descriptorPath } from './open-beneath.js'

// Safe: the empty path names the link that `fd` is open on; the buffer of `size` bytes lives for the call.
const readlinkat = declare<[number, string, Uint8Array, number], number | bigint>(
  'long readlinkat(int fd, const char *path, uint8_t *buffer, size_t size)',
)

/** As the kernel's own limit (path_resolution(7)). */
const maxLinks = 40
/** PATH_MAX, limits.h. */
const maxTargetBytes = 4096

const trustedUsers = (): readonly number[] => [0, process.geteuid?.() ?? 0]

/**
 * A descriptor (O_PATH) of the file at a path, if other users may change parts of that path at any moment.
 * Links in its directories are followed only if root or the user of this process owns them, and the last
 * part must not be a link at all. So another user, a jailed VMM for example, cannot lead this process to
 * files that only this process may reach. A refused link gives ELOOP, as `code`; other errors are those of
 * open(2).
 */
export function openTrusted(path: string, trusted: readonly number[] = trustedUsers()): number {
  const opened: number[] = []
  const openAt = (reached: string) => {
    try {
      const fd = openSync(reached, O_PATH | constants.O_NOFOLLOW)
      opened.push(fd)
      return fd
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      throw Object.assign(new Error(message.replace(reached, path), { cause: error }), { code })
    }
  }
  const refuse = (why: string) => Object.assign(new Error(`ELOOP: ${why}: ${path}`), { code: 'ELOOP' })
  try {
    const names = partsOf(path)
    let here = openAt(path.startsWith('/') ? '/' : '.')
    for (let links = 0; names.length > 0; ) {
      const name = names.shift() as string
      const found = openAt(`${descriptorPath(here)}/${name}`)
      const stat = fstatSync(found)
      if (!stat.isSymbolicLink()) here = found
      else if (names.length === 0) throw refuse('a symbolic link')
      else if (!trusted.includes(stat.uid)) throw refuse(`${name} is a symbolic link of user ${stat.uid}`)
      else if (++links > maxLinks) throw refuse(`more than ${maxLinks} symbolic links`)
      else {
        const target = targetOf(found)
        if (target.startsWith('/')) here = openAt('/')
        names.unshift(...partsOf(target))
      }
    }
    return opened.splice(opened.indexOf(here), 1)[0] as number
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}

const partsOf = (path: string) => path.split('/').filter((part) => part !== '' && part !== '.')

/** Of the link that was checked, even if another file has its name by now. */
function targetOf(link: number): string {
  const buffer = new Uint8Array(maxTargetBytes)
  const length = Number(readlinkat(link, '', buffer, buffer.length))
  if (length < 0) throw syscallError('readlinkat', errno(), descriptorPath(link))
  return Buffer.from(buffer.subarray(0, length)).toString('utf8')
}
