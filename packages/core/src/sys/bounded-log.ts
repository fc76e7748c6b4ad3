import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs'
import { dataExtents } from './extents.js'
import { openBeneath } from './open-beneath.js'
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

/** How much was written to a log, and how much of it is still there. */
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
  withLog(() => openHere(path, constants.O_RDWR), punch)
}

/**
 * The same for a log in a jail, by its name in the jail's root. Only a file with a single name that the
 * jail's user owns is touched: that user could empty it too.
 */
export function boundJailLog(root: string, name: string, uid: number): void {
  const open = () => openBeneath(root, name, constants.O_RDWR | constants.O_NONBLOCK)
  withLog(open, (fd, stat) => {
    if (stat.uid === uid && stat.nlink === 1) punch(fd, stat)
  })
}

function punch(fd: number, { size }: Stats): void {
  if (size <= keptBytes + slackBytes) return
  const { droppedBytes } = useOf(fd, size)
  if (size - droppedBytes <= keptBytes + slackBytes) return
  const end = Math.floor((size - keptBytes) / stepBytes) * stepBytes
  punchHole(fd, droppedBytes, end - droppedBytes)
}

/** Zeros if there is no such log. */
export function logUse(path: string): LogUse {
  const open = () => openHere(path, constants.O_RDONLY)
  return withLog(open, (fd, { size }) => useOf(fd, size)) ?? { writtenBytes: 0, droppedBytes: 0 }
}

function useOf(fd: number, sizeBytes: number): LogUse {
  const [first] = dataExtents(fd, sizeBytes)
  return { writtenBytes: sizeBytes, droppedBytes: first?.startBytes ?? 0 }
}

const openHere = (path: string, access: number) =>
  openSync(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK)

function withLog<T>(open: () => number, use: (fd: number, stat: Stats) => T): T | undefined {
  let fd: number
  try {
    fd = open()
  } catch {
    return undefined
  }
  try {
    const stat = fstatSync(fd)
    return stat.isFile() ? use(fd, stat) : undefined
  } finally {
    closeSync(fd)
  }
}
