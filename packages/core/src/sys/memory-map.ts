import {
  MADV_DONTNEED,
  MADV_POPULATE_READ,
  MADV_RANDOM,
  MADV_WILLNEED,
  MAP_ANONYMOUS,
  MAP_HUGETLB_2MB,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from './abi.js'
import { declare, errno, syscallError } from './libc.js'

const mapFailed = 18446744073709551615n

// Addresses are passed and returned as integers (user addresses stay below 2^47), so JavaScript never holds a
// pointer that it could follow. Safe: the kernel checks every range.
const mmap = declare<[number, number, number, number, number, number], number | bigint>(
  'uint64_t mmap(uint64_t address, uint64_t length, int protection, int flags, int fd, int64_t offset)',
)
const munmap = declare<[number, number]>('int munmap(uint64_t address, uint64_t length)')

// Safe: advice changes no content; the kernel checks the range.
const madvise = declare<[number, number, number]>(
  'int madvise(uint64_t address, uint64_t length, int advice)',
)

/**
 * Memory of this process that the kernel may read or fill on our behalf. Valid until disposed; dispose once.
 */
export interface MemoryMapping extends Disposable {
  /**
   * Page-aligned address in this process. For system calls only: reading a mapped
   * file here could end in SIGBUS.
   */
  readonly address: number
  readonly lengthBytes: number
}

/** Maps the first `lengthBytes` of a file for the kernel to read from (shared, read-only). */
export function mapFile(fd: number, lengthBytes: number): MemoryMapping {
  return map(lengthBytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd)
}

/** Private anonymous memory, zero until written. */
export function mapAnonymous(lengthBytes: number): MemoryMapping {
  return map(lengthBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)
}

/** The same on huge pages of 2 MiB, as Firecracker maps guest memory; none is taken before it is touched. */
export function mapHugePages(lengthBytes: number): MemoryMapping {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_HUGETLB_2MB
  return map(lengthBytes, PROT_READ | PROT_WRITE, flags, -1)
}

function map(lengthBytes: number, protection: number, flags: number, fd: number): MemoryMapping {
  const address = mmap(0, lengthBytes, protection, flags, fd, 0)
  if (address === mapFailed) throw syscallError('mmap', errno(), `${lengthBytes} bytes of descriptor ${fd}`)
  let mapped = true
  return {
    address: Number(address),
    lengthBytes,
    [Symbol.dispose]: () => {
      if (!mapped) return
      mapped = false
      if (munmap(Number(address), lengthBytes) !== 0)
        throw syscallError('munmap', errno(), `${lengthBytes} bytes`)
    },
  }
}

/** Faults on the mapping bring in single pages, without reading around them. */
export function adviseRandomAccess(mapping: MemoryMapping): void {
  if (madvise(mapping.address, mapping.lengthBytes, MADV_RANDOM) !== 0)
    throw syscallError('madvise', errno(), `random access to ${mapping.lengthBytes} bytes`)
}

/** Starts reading a range of a mapped file into the page cache, without waiting for it. */
export function adviseMappedWillNeed(address: number, lengthBytes: number): void {
  if (madvise(address, lengthBytes, MADV_WILLNEED) !== 0)
    throw syscallError('madvise', errno(), `reading ${lengthBytes} bytes ahead`)
}

/**
 * Brings a range of a mapped file into memory and into the page table; waits if it must be read. Errors
 * (Linux before 5.14, a file that was cut off) are ignored: they show when the range is read.
 */
export function populateForReading(address: number, lengthBytes: number): void {
  madvise(address, lengthBytes, MADV_POPULATE_READ)
}

/** Gives pages of anonymous memory back, as a balloon does; they read as zero afterwards. */
export function discardPages(address: number, lengthBytes: number): void {
  if (madvise(address, lengthBytes, MADV_DONTNEED) !== 0)
    throw syscallError('madvise', errno(), `discarding ${lengthBytes} bytes`)
}
