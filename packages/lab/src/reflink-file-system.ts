import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { type AptOptions, runTool } from '@varve/guest/testing'
import { VarveError } from 'varve'
import { onProcessEnd } from 'varve/testing'
import { aptInstall } from './system-packages.js'

export interface ReflinkFileSystem extends AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string
  /**
   * What a crash of the host would leave: nothing more is written (XFS shutdown
   * without its log), then mounted again.
   */
  crash(): Promise<void>
}

export interface ReflinkOptions extends AptOptions {
  /**
   * Writes the whole file first. For measuring: in a sparse one the first write to each place also has the
   * file system below find blocks.
   */
  readonly filled?: boolean
}

/**
 * A fresh XFS whose files can share blocks, in a sparse file in `directory`, mounted there by a loop device.
 * Needs root and mkfs.xfs, which is installed if apt-get is; what is missing is HOST_UNSUPPORTED. Closing it,
 * or the end of the process, unmounts and removes it.
 */
export async function openReflinkFileSystem(
  directory: string,
  sizeBytes: number,
  options: ReflinkOptions = {},
): Promise<ReflinkFileSystem> {
  if (process.getuid?.() !== 0)
    throw new VarveError('HOST_UNSUPPORTED', 'a file system is mounted by root only', {
      remedy: 'run this as root',
    })
  if (!hasCommand('mkfs.xfs')) await aptInstall(['xfsprogs'], options)
  const image = join(directory, 'xfs.img')
  const path = join(directory, 'xfs')
  mkdirSync(path, { mode: 0o700 })
  let mounted = false
  const close = () => {
    takeBack()
    if (mounted) spawnSync('umount', [path])
    mounted = false
    rmSync(image, { force: true })
    // Not recursive: whatever is still mounted there must not be emptied.
    spawnSync('rmdir', [path])
  }
  const takeBack = onProcessEnd(close)
  try {
    writeFileSync(image, '', { flag: 'wx', mode: 0o600 })
    truncateSync(image, sizeBytes)
    if (options.filled) await fill(image, sizeBytes)
    // -K: no discard, which would make the file sparse again.
    await runTool('mkfs.xfs', ['-q', '-K', '-m', 'reflink=1', image])
    await runTool('mount', ['-o', 'loop', image, path])
    mounted = true
  } catch (error) {
    close()
    throw error
  }
  return {
    path,
    crash: async () => {
      await runTool('xfs_io', ['-x', '-c', 'shutdown', path])
      await runTool('umount', [path])
      mounted = false
      await runTool('mount', ['-o', 'loop', image, path])
      mounted = true
    },
    [Symbol.asyncDispose]: async () => close(),
  }
}

async function fill(path: string, sizeBytes: number): Promise<void> {
  await using handle = await open(path, 'r+')
  const zeros = Buffer.alloc(4 * 1024 * 1024)
  for (let at = 0; at < sizeBytes; at += zeros.length)
    await handle.write(zeros, 0, Math.min(zeros.length, sizeBytes - at), at)
  await handle.sync()
}

function hasCommand(name: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].filter(Boolean)
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
