import { readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDirectory } from '../../cache-directory.js'

/**
 * Directory for copies of the page server's program: the server's own. If that file system is mounted
 * `noexec` (/run on some hosts), koffi's native part could not be loaded from it, so the copies are in the
 * user's cache directory.
 */
export function programsDirectory(serverDirectory: string): string {
  return isNoexec(serverDirectory, readFileSync('/proc/self/mountinfo', 'utf8'))
    ? join(cacheDirectory(), 'page-server')
    : join(serverDirectory, 'program')
}

/** Whether the mount of `path` is `noexec`; `mountinfo` has the format of proc(5). */
export function isNoexec(path: string, mountinfo: string): boolean {
  const real = `${realpathSync(path)}/`
  let [longest, noexec] = [-1, false]
  for (const line of mountinfo.split('\n')) {
    const [, , , , point, options] = line.split(' ')
    if (point === undefined || options === undefined) continue
    // Space, tab, line feed and backslash come as three octal digits.
    const at = point.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)))
    // Of several mounts on one directory, the last one is visible.
    if (at.length >= longest && real.startsWith(at === '/' ? '/' : `${at}/`))
      [longest, noexec] = [at.length, options.split(',').includes('noexec')]
  }
  return noexec
}
