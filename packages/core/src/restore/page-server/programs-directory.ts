import { readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDirectory } from '../../cache-directory.js'

/**
 * Where the copies of the page server's program are: with the server; where that file system runs no programs (`noexec`, as /run on some
 * hosts), in the user's cache, as koffi's native part could not be loaded.
 */
export function programsDirectory(serverDirectory: string): string {
  return isNoexec(serverDirectory, readFileSync('/proc/self/mountinfo', 'utf8'))
    ? join(cacheDirectory(), 'page-server')
    : join(serverDirectory, 'program')
}

/** Whether the mount that has `path` is one that runs no programs; `mountinfo` as proc(5) says. */
export function isNoexec(path: string, mountinfo: string): boolean {
  const real = `${realpathSync(path)}/`
  let [longest, noexec] = [-1, false]
  for (const line of mountinfo.split('\n')) {
    const [, , , , point, options] = line.split(' ')
    if (point === undefined || options === undefined) continue
    // Space, tab, line feed and backslash come as three octal digits.
    const at = point.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)))
    // The last of several on one directory is the one that is seen.
    if (at.length >= longest && real.startsWith(at === '/' ? '/' : `${at}/`))
      [longest, noexec] = [at.length, options.split(',').includes('noexec')]
  }
  return noexec
}
