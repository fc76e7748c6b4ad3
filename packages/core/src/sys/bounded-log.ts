import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { dataExtents } from './extents.js'
import { punchHole } from './reflink.js'

/** What stays readable of a log, and how much more may have gathered when it is cut: cutting has a cost, and need not be exact. */
const keptBytes = 2 ** 20
const slackBytes = 2 ** 20
/** A multiple of every block size that holes can have, so that the first data begins exactly where the cut ends. */
const stepBytes = 64 * 1024

export interface LogUse {
  /** All that was ever written; also the file's size. */
  readonly writtenBytes: number
  /** Of these, from the beginning: what is not there any more. It reads as zeros. */
  readonly droppedBytes: number
}

/**
 * Gives back the blocks of a log's beginning, so that about the last MiB stays. Its size and every offset in it stay as they are: the
 * writer, which may be another process, and readers at the end notice nothing, and nothing that is written meanwhile is lost. Does
 * nothing where the file is no regular one, or its file system knows no holes. Safe to call from any number of processes.
 */
export function boundLog(path: string): void {
  withLog(path, constants.O_RDWR, (fd, sizeBytes) => {
    if (sizeBytes <= keptBytes + slackBytes) return
    const { droppedBytes } = useOf(fd, sizeBytes)
    if (sizeBytes - droppedBytes <= keptBytes + slackBytes) return
    const end = Math.floor((sizeBytes - keptBytes) / stepBytes) * stepBytes
    punchHole(fd, droppedBytes, end - droppedBytes)
  })
}

/** Zeros if there is no such log. */
export function logUse(path: string): LogUse {
  return withLog(path, constants.O_RDONLY, useOf) ?? { writtenBytes: 0, droppedBytes: 0 }
}

function useOf(fd: number, sizeBytes: number): LogUse {
  const [first] = dataExtents(fd, sizeBytes)
  return { writtenBytes: sizeBytes, droppedBytes: first?.startBytes ?? 0 }
}

function withLog<T>(path: string, access: number, use: (fd: number, sizeBytes: number) => T): T | undefined {
  let fd: number
  try {
    fd = openSync(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const stat = fstatSync(fd)
    return stat.isFile() ? use(fd, stat.size) : undefined
  } finally {
    closeSync(fd)
  }
}
