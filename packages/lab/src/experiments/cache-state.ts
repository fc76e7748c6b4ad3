import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { canSeeResidency, dropPageCache, residentPages } from 'varve/testing'

const piece = Buffer.allocUnsafe(4 * 2 ** 20)

/** A page that is just being read or written back does not drop at once. */
const [dropAttempts, dropPauseMs] = [5, 20]

/**
 * Drops these files from the page cache, and checks that they are gone, so that the next measurement is cold.
 * HOST_UNSUPPORTED if pages stay (all on a tmpfs or ramfs, and those that a process has mapped), or if the
 * kernel does not let this user see them.
 */
export function dropFromCache(paths: readonly string[]): void {
  for (const path of paths)
    withOpen(path, (fd) => {
      if (!canSeeResidency(path))
        throw notCold(`the kernel hides which pages of ${path} are in the page cache`)
      let stayed = 0
      let pages = 0
      for (let attempt = 0; attempt < dropAttempts; attempt++) {
        if (attempt > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, dropPauseMs)
        dropPageCache(fd)
        const resident = residentPages(fd)
        pages = resident.length
        stayed = resident.reduce((sum, byte) => sum + (byte & 1), 0)
        if (stayed === 0) return
      }
      throw notCold(`${stayed} of ${pages} pages of ${path} stay in the page cache`)
    })
}

const notCold = (what: string) =>
  new VarveError('HOST_UNSUPPORTED', `not cold: ${what}`, {
    remedy: 'set TMPDIR to a directory on a disk, and have no other process map the files',
  })

/**
 * Why files in a directory cannot be made cold; undefined if they can. Makes a small file there, and removes
 * it.
 */
export function whyNeverCold(directory: string): string | undefined {
  const folder = mkdtempSync(join(directory, 'varve-cold-'))
  try {
    const path = join(folder, 'probe')
    writeFileSync(path, Buffer.alloc(64 * 4096, 1), { mode: 0o600 })
    dropFromCache([path])
    return undefined
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    return `files in ${directory} stay in the page cache`
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** All of these files is in the page cache, as far as there is room. */
export function bringIntoCache(paths: readonly string[]): void {
  for (const path of paths)
    withOpen(path, (fd) => {
      for (let at = 0, read = -1; read !== 0; at += read) read = readSync(fd, piece, 0, piece.length, at)
    })
}

function withOpen(path: string, work: (fd: number) => void): void {
  const fd = openSync(path, 'r')
  try {
    work(fd)
  } finally {
    closeSync(fd)
  }
}
