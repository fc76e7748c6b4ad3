import { closeSync, openSync, readSync } from 'node:fs'
import { dropPageCache } from 'varve'

const piece = Buffer.allocUnsafe(4 * 2 ** 20)

/** Nothing of these files is in the page cache, but what somebody has mapped. */
export function dropFromCache(paths: readonly string[]): void {
  for (const path of paths) withOpen(path, dropPageCache)
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
