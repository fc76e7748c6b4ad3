import { lchownSync, mkdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import { removeTree } from '../sys/remove-tree.js'
import type { FirecrackerBinary } from './binary.js'

/** Options of Firecracker's jailer; see its `--help`. Needs root. */
export interface JailerOptions {
  /** Jailer binary; default: the one in Firecracker's folder. */
  readonly path?: string
  /** Numeric user that Firecracker runs as. */
  readonly uid: number
  /** Numeric group that Firecracker runs as. */
  readonly gid: number
  /** Default /srv/jailer; the jail is `<chrootBaseDir>/<binary name>/<id>/root`. */
  readonly chrootBaseDir?: string
  /** Path of the network namespace to join. */
  readonly netns?: string
  /** The version of cgroups to use. Default: the jailer's own. */
  readonly cgroupVersion?: 1 | 2
  /** Cgroup files to write, as `FILE=VALUE`. */
  readonly cgroups?: readonly string[]
  /** Limits (`fsize=BYTES`, `no-file=COUNT`). */
  readonly resourceLimits?: readonly string[]
}

const chrootBase = (jailer: JailerOptions) => jailer.chrootBaseDir ?? '/srv/jailer'

/** The jail's root, by the jailer's own rule. */
export function jailRootOf(jailer: JailerOptions, binary: FirecrackerBinary, id: string): string {
  return join(chrootBase(jailer), basename(binary.path), id, 'root')
}

/** Program and arguments that start Firecracker in its jail; the jailer passes `--id` on by itself. */
export function jailerCommand(
  jailer: JailerOptions,
  binary: FirecrackerBinary,
  id: string,
  vmmArguments: readonly string[],
): { readonly file: string; readonly args: readonly string[] } {
  const file = jailer.path ?? binary.jailerPath
  if (file === undefined)
    throw new VarveError('BINARY_NOT_FOUND', `no jailer in the folder of ${binary.path}`, {
      remedy: 'give jailer.path',
    })
  const args = ['--id', id, '--exec-file', binary.path, '--uid', `${jailer.uid}`, '--gid', `${jailer.gid}`]
  args.push('--chroot-base-dir', chrootBase(jailer))
  if (jailer.netns !== undefined) args.push('--netns', jailer.netns)
  if (jailer.cgroupVersion !== undefined) args.push('--cgroup-version', `${jailer.cgroupVersion}`)
  for (const cgroup of jailer.cgroups ?? []) args.push('--cgroup', cgroup)
  for (const limit of jailer.resourceLimits ?? []) args.push('--resource-limit', limit)
  return { file, args: [...args, '--', ...vmmArguments] }
}

/**
 * Makes a jail's folder and its root, which the jail's user owns. An existing one is ALREADY_EXISTS: it
 * belongs to another machine, or was filled by one that is not to be trusted.
 */
export function makeJail(root: string, jailer: JailerOptions): void {
  mkdirSync(dirname(dirname(root)), { recursive: true, mode: 0o700 })
  try {
    mkdirSync(dirname(root), { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new VarveError('ALREADY_EXISTS', `the jail ${dirname(root)} exists`, {
      remedy: 'choose another machine name, or remove the jail if no machine uses it',
      cause: error,
    })
  }
  mkdirSync(root, { mode: 0o700 })
  lchownSync(root, jailer.uid, jailer.gid)
}

/** With all that is in it; the jail's own folder is one above its root. */
export function removeJail(root: string): void {
  removeTree(dirname(root))
}
