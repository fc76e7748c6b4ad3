// A disk with a chosen read-ahead: ext4 on a loop device with direct I/O, so that a file that was dropped
// from the page cache is cold. Needs root; changes nothing else on the machine.

import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const gib = 2 ** 30

/** Mounted below `directory` until `close` is called. */
export function openLoopDisk(directory, readAheadKib, sizeBytes = 6 * gib) {
  const image = join(directory, 'disk.img')
  const path = join(directory, 'disk')
  let device
  const close = () => {
    // Unmount lazily: if the process is interrupted, VMMs end a little later and have files open until then.
    spawnSync('umount', ['--lazy', path])
    if (device) spawnSync('losetup', ['--detach', device])
    device = undefined
    rmSync(image, { force: true })
  }
  try {
    writeFileSync(image, '', { flag: 'wx', mode: 0o600 })
    truncateSync(image, sizeBytes)
    mkdirSync(path, { mode: 0o700 })
    device = run('losetup', '--find', '--show', '--direct-io=on', image).trim()
    // In sectors of 512 bytes. Before the mount: files take it over when they are opened.
    run('blockdev', '--setra', String(readAheadKib * 2), device)
    run('mkfs.ext4', '-q', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', device)
    run('mount', device, path)
    if (run('losetup', '--noheadings', '--output', 'DIO', device).trim() !== '1')
      throw new Error(
        `${device} does not pass the page cache by: ${image} is on a file system without direct I/O`,
      )
    return { path, close }
  } catch (error) {
    close()
    throw error
  }
}

function run(file, ...args) {
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? stderr}`)
  return stdout
}
