import { closeSync, fstatSync } from 'node:fs'
import { MADV_WILLNEED, SYS_process_madvise } from './abi.js'
import { adviseWillNeed } from './fadvise.js'
import { declareAsync } from './libc.js'
import { mapFile } from './memory-map.js'
import { openPidfd } from './pidfd.js'
import { processIdentity } from './proc.js'

/** IOV_MAX: a call takes no more ranges. */
const callRanges = 1024

// Safe: `vector` is held until the call has returned; ranges are of a mapping that is held as long, and
// advice changes no content.
const processMadvise = declareAsync<
  [number, number, BigUint64Array, number, number, number],
  number | bigint
>('long syscall(long number, long pidfd, const uint64_t *vector, long count, long advice, long flags)')

/** `lengthBytes` of a file from `offsetBytes` on. */
export interface ByteRange {
  readonly offsetBytes: number
  readonly lengthBytes: number
}

/**
 * Starts reading ranges of an open file into the page cache, in their order, in another thread: to submit a
 * read takes the kernel some 20 µs, and this thread has a VMM to start. Resolves when all are submitted.
 * `goOn` is asked between calls of 1,024 ranges. The kernel cuts ranges to its read-ahead size (128 KiB);
 * what lies behind the end of the file is ignored.
 */
export async function submitReads(fd: number, ranges: readonly ByteRange[], goOn: () => void): Promise<void> {
  const { size } = fstatSync(fd)
  const within = ranges.filter(({ offsetBytes }) => offsetBytes < size)
  if (within.length === 0) return
  const self = processIdentity(process.pid)
  const pidfd = self === undefined ? undefined : openPidfd(self)
  using mapping = mapFile(fd, size)
  try {
    for (let from = 0; from < within.length; from += callRanges) {
      goOn()
      const part = within.slice(from, from + callRanges)
      if (pidfd !== undefined && (await advised(pidfd, mapping.address, part))) continue
      // Before Linux 6.13 without CAP_SYS_NICE, before 5.10 always.
      for (const { offsetBytes, lengthBytes } of part) adviseWillNeed(fd, offsetBytes, lengthBytes)
    }
  } finally {
    if (pidfd !== undefined) closeSync(pidfd)
  }
}

async function advised(pidfd: number, address: number, ranges: readonly ByteRange[]): Promise<boolean> {
  const vector = new BigUint64Array(2 * ranges.length)
  ranges.forEach(({ offsetBytes, lengthBytes }, i) => {
    vector[2 * i] = BigInt(address + offsetBytes)
    vector[2 * i + 1] = BigInt(lengthBytes)
  })
  const bytes = vector.reduce((sum, value, i) => (i % 2 === 0 ? sum : sum + value), 0n)
  return (
    BigInt(await processMadvise(SYS_process_madvise, pidfd, vector, ranges.length, MADV_WILLNEED, 0)) ===
    bytes
  )
}
