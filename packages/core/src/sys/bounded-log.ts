import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { dataExtents } from './extents.js'
import { punchHole } from './reflink.js'

/**
 * How much of a log stays readable, and how much more may gather before the next cut: a cut has a cost and
 * need not be exact.
 */
const keptBytes = 2 ** 20
const slackBytes = 2 ** 20
/**
 * A multiple of every block size that holes can have, so that the first data begins exactly where the cut
 * ends.
 */
const stepBytes = 64 * 1024

export interface LogUse {
  /** All bytes ever written; also the file's size. */
  readonly writtenBytes: number
  /** How many of them, from the beginning, were dropped. They read as zeros. */
  readonly droppedBytes: number
}

/**
 * Frees the blocks of a log's beginning, so that about the last MiB stays. Its size and all offsets stay the
 * same: the writer, which may be another process, and readers at the end notice nothing, and no byte that is
 * written meanwhile is lost. Does nothing if the file is not a regular one, or its file system has no holes.
 * Safe to call from any number of processes.
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
