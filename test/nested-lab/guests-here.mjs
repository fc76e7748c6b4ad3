// The directory of built guests (docs/formats/guest-image.md) that test/support/linux-host.ts brings here.
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'

export function guestsHere() {
  const directory = resolve('guests')
  const disk = process.env.VARVE_BLOBS_DISK
  if (disk !== undefined) mountBlobs(disk, resolve(directory, 'blobs/sha256'))
  // Files come into the nested lab with their own modes, folders do not.
  chmodSync(directory, 0o700)
  for (const it of readdirSync(directory, { withFileTypes: true }))
    if (it.isDirectory()) chmodSync(resolve(directory, it.name), 0o700)
  return directory
}

/** Its root has a mode that is not for guests, so only the folder in it is put there. */
function mountBlobs(disk, target) {
  const all = resolve('blobs')
  for (const path of [all, target]) mkdirSync(path, { recursive: true })
  execFileSync('mount', ['-t', 'ext4', '-o', 'ro', disk, all])
  execFileSync('mount', ['-o', 'bind', resolve(all, 'sha256'), target])
  // The lab removes what a script leaves in its folder.
  process.on('exit', () => {
    for (const path of [target, all]) execFileSync('umount', [path])
  })
}
