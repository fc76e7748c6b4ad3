import { readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { sleepInThread } from '../sys/file-lock.js'

/**
 * The directories of the cgroups that the jailer made for a VMM; it leaves their removal to
 * others. They end in the machine's id (cgroups(7): /proc/PID/cgroup has
 * `hierarchy:controllers:path`, no controllers for version 2).
 */
export function jailCgroups(pid: number, id: string): string[] {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
  const mountOf = (controllers: string) =>
    mounts.find(([, , type, options]) =>
      controllers === ''
        ? type === 'cgroup2'
        : type === 'cgroup' && (options ?? '').split(',').includes(controllers.split(',')[0] ?? ''),
    )?.[1]
  const found: string[] = []
  for (const line of readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n')) {
    const [, controllers = '', path = ''] = line.split(':')
    const mount = path.endsWith(`/${id}`) ? mountOf(controllers) : undefined
    if (mount !== undefined) found.push(join(mount, path))
  }
  return found
}

/** A cgroup is busy until the kernel has done with its last process, some milliseconds after that ended. */
const busyTries = 20

/** Only empty ones go: the directory itself, never what is in it. */
export function removeCgroups(directories: readonly string[]): void {
  for (const directory of directories)
    for (let attempt = 1; ; attempt++) {
      try {
        rmdirSync(directory)
        break
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || attempt === busyTries) break
        sleepInThread(5)
      }
    }
}
