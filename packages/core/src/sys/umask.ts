import { declare } from './libc.js'

// Safe: an integer; the call cannot fail.
const umask = declare<[number]>('uint32_t umask(uint32_t mask)')

/**
 * Runs synchronous work under a umask, which child processes inherit. Works in a worker thread too, unlike
 * `process.umask`. All threads of a process share the umask: a file that another thread creates meanwhile
 * gets no more rights than it asked for, but can get fewer.
 */
export function withUmask<T>(mask: number, work: () => T): T {
  const before = umask(mask)
  try {
    return work()
  } finally {
    umask(before)
  }
}
