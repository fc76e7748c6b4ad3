// A disk with a chosen read-ahead: ext4 on a loop device with direct I/O, so that a file that was dropped
// from the page cache is cold. Needs root; changes nothing else on the machine.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { must } from '../common/child.js'

export interface LoopDisk {
  readonly path: string
  close(): void
}

/** Mounted below `directory` until `close` is called. */
export function openLoopDisk(directory: string, readAheadKib: number, sizeBytes = 6 * 2 ** 30): LoopDisk {
  const image = join(directory, 'disk.img')
  const path = join(directory, 'disk')
  let device: string | undefined
  const close = () => {
    // Unmount lazily: if the process is interrupted, VMMs end a little later and have files open until then.
    spawnSync('umount', ['--lazy', path])
    if (device !== undefined) spawnSync('losetup', ['--detach', device])
    device = undefined
    rmSync(image, { force: true })
  }
  try {
    writeFileSync(image, '', { flag: 'wx', mode: 0o600 })
    truncateSync(image, sizeBytes)
    mkdirSync(path, { mode: 0o700 })
    device = must('losetup', ['--find', '--show', '--direct-io=on', image]).trim()
    // In sectors of 512 bytes. Before the mount: files take it over when they are opened.
    must('blockdev', ['--setra', String(readAheadKib * 2), device])
    must('mkfs.ext4', ['-q', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', device])
    must('mount', [device, path])
    if (must('losetup', ['--noheadings', '--output', 'DIO', device]).trim() !== '1')
      throw new Error(
        `${device} does not pass the page cache by: ${image} is on a file system without direct I/O`,
      )
    return { path, close }
  } catch (error) {
    close()
    throw error
  }
}
