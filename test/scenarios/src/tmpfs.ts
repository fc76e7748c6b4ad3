import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { onProcessEnd } from 'varve/testing'

/**
 * A small file system for as long as `work` takes. mount(8) exists wherever Linux boots; it
 * needs root, as the jailer does.
 */
export async function withTmpfs<T>(
  directory: string,
  sizeBytes: number,
  work: () => Promise<T>,
  options: readonly string[] = [],
): Promise<T> {
  const all = [`size=${sizeBytes}`, 'mode=0700', ...options].join(',')
  run('mount', ['-t', 'tmpfs', '-o', all, 'tmpfs', directory])
  const unmount = () => run('umount', [directory])
  const takeBack = onProcessEnd(unmount)
  try {
    return await work()
  } finally {
    takeBack()
    unmount()
  }
}

export function remount(directory: string, as: 'ro' | 'rw'): void {
  run('mount', ['-o', `remount,${as}`, directory])
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error?.message ?? stderr}`)
}
