import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { SEEK_DATA, SEEK_HOLE } from './abi.js'
import { declare, errno, errnoNumber, syscallError } from './libc.js'

// Safe: integers only. Offsets are far below 2^53, so Number is exact.
const lseek = declare<[number, number, number], number | bigint>(
  'int64_t lseek(int fd, int64_t offset, int whence)',
)

export interface ByteExtent {
  readonly startBytes: number
  readonly endBytes: number
}

/**
 * The data extents of an open file within its first `sizeBytes`, ascending; what lies between is holes.
 * Moves the descriptor's file position. Source: lseek(2), SEEK_DATA and SEEK_HOLE. A file system
 * without holes reports one extent.
 */
export function* dataExtents(fd: number, sizeBytes: number): Generator<ByteExtent> {
  let position = 0
  while (position < sizeBytes) {
    const startBytes = seek(fd, position, SEEK_DATA)
    if (startBytes === undefined || startBytes >= sizeBytes) return
    // There is always a hole at the end of the file, so this seek finds one.
    const endBytes = Math.min(seek(fd, startBytes, SEEK_HOLE) ?? sizeBytes, sizeBytes)
    yield { startBytes, endBytes }
    position = endBytes
  }
}

/** Undefined if there is no data (or hole) behind `offset`. */
function seek(fd: number, offset: number, whence: number): number | undefined {
  const result = Number(lseek(fd, offset, whence))
  if (result >= 0) return result
  const number = errno()
  if (number === errnoNumber.ENXIO) return undefined
  throw syscallError('lseek', number, `SEEK_${whence === SEEK_DATA ? 'DATA' : 'HOLE'} from ${offset}`)
}

/** Larger than any block that a Linux file system uses for holes (Btrfs and XFS reach 64 KiB). */
const probeBytes = 2 * 1024 * 1024

/**
 * The smallest hole that files in `directory` can have, bytes: one page of data in a sparse file is written
 * and the extent around it measured. A file system without holes gives the whole probe.
 */
export function holeGranularityBytes(directory: string): number {
  const path = join(directory, `.varve-hole-probe-${randomBytes(6).toString('hex')}`)
  const fd = openSync(path, 'wx', 0o600)
  try {
    ftruncateSync(fd, probeBytes)
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, probeBytes / 2)
    let bytes = 0
    for (const { startBytes, endBytes } of dataExtents(fd, probeBytes)) bytes += endBytes - startBytes
    return bytes
  } finally {
    closeSync(fd)
    rmSync(path, { force: true })
  }
}
