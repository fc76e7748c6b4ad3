import { join } from 'node:path'

// The runner loads this file and has to start fast under emulation: import nothing that imports `varve`.

/** Where things lie inside the nested lab. */
export const labPaths = {
  firecracker: '/opt/firecracker/firecracker',
  jailer: '/opt/firecracker/jailer',
  guest: '/opt/guest',
  /** The built project, as in its checkout: `packages/`, `node_modules/`. */
  project: '/varve',
  /** A writable ext4 disk, empty at the start of each lab; also TMPDIR. */
  scratch: '/scratch',
} as const

export const runnerPath = join(labPaths.project, 'packages/lab/dist/nested/runner.js')
/** Name of the virtio-serial port, as the runner looks for it in sysfs. */
export const portName = 'varve.jobs'

/** Environment of each script. */
export const labEnvironment = {
  /** How `guestHere` knows where it is. */
  VARVE_LAB: 'nested',
  FIRECRACKER: labPaths.firecracker,
  HOME: labPaths.scratch,
  PATH: '/bin:/usr/bin:/sbin',
  TMPDIR: labPaths.scratch,
  XDG_CACHE_HOME: join(labPaths.scratch, 'cache'),
  XDG_RUNTIME_DIR: '/run',
} as const
