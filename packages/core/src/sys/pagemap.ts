import { closeSync, openSync, readSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { notFound } from '../not-found.js'
import { PAGE_IS_FILE, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGEMAP_SCAN, pageBytes } from './abi.js'
import { declare, errno, errnoNumber, koffi, syscallError } from './libc.js'

const word = 2 ** 32

/**
 * struct pm_scan_arg: size, flags, start, end, walk_end, vec, vec_len, max_pages,
 * then four masks; 64 bits each.
 */
const scanWords = 12
/** struct page_region: start, end, categories; 64 bits each. */
const regionWords = 3
/** 96 KiB of them a call: 4,096 single pages in 35 µs. */
const maxRegions = 4096

/** Entries a read: 512 KiB for 256 MiB of memory, some 0.6 ms in the kernel. */
const maxEntries = 65_536
// Bits 63 to 61 of an entry (Documentation/admin-guide/mm/pagemap.rst), here in its upper half.
const entryPresent = 1 << 31
const entrySwapped = 1 << 30
const entryFile = 1 << 29

// Safe: `argument` holds struct pm_scan_arg (96 bytes) and lives for the call; the address in it is of memory
// that its Pagemap owns, `vec_len` regions long.
const ioctl = declare<[number, number, BigUint64Array]>(
  'int ioctl(int fd, unsigned long request, uint64_t *argument)',
)

/**
 * A page that is the file's own, or a private one: a copy, anonymous memory, or the kernel's page of zeros.
 */
export type PageKind = 'file' | 'anonymous'

/**
 * Which pages of another process are there (/proc/PID/pagemap). Needs the rights of ptrace(2) over
 * it: the same user, or root. One that was opened goes on naming that process; if it has ended it
 * has no pages. About 10 ns a page.
 */
export class Pagemap implements Disposable {
  readonly #fd: number
  readonly #path: string
  readonly #entry = new Int32Array(2)
  #reader: Reader
  #closed = false

  /** `way`: to force one; by default PAGEMAP_SCAN if the kernel has it. NOT_FOUND, HOST_UNSUPPORTED. */
  constructor(pid: number, way?: 'PAGEMAP_SCAN' | 'read') {
    this.#path = `/proc/${pid}/pagemap`
    try {
      this.#fd = openSync(this.#path, 'r')
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ESRCH')
        throw notFound('process', `there is no process ${pid}`, { cause: error })
      throw new VarveError('HOST_UNSUPPORTED', `cannot read ${this.#path}: ${message}`, {
        remedy: 'be the user that the process runs as, or root',
        cause: error,
      })
    }
    const scan = way === 'read' ? undefined : new ScanReader(this.#fd, this.#path)
    if (scan?.supported === true) this.#reader = scan
    else {
      scan?.free()
      if (way === 'PAGEMAP_SCAN')
        throw this.#refused(new VarveError('HOST_UNSUPPORTED', 'this kernel has no PAGEMAP_SCAN'))
      this.#reader = new EntryReader(this.#fd, this.#path)
    }
  }

  #refused(error: VarveError): VarveError {
    closeSync(this.#fd)
    return error
  }

  get way(): 'PAGEMAP_SCAN' | 'read' {
    return this.#reader.way
  }

  /**
   * The pages that are there between two addresses (whole pages, bytes), as runs by address. A page that was
   * swapped out is there too. Neighbouring runs can be of one kind.
   */
  forEachRun(start: number, end: number, visit: (start: number, end: number, kind: PageKind) => void): void {
    this.#assertPages(start, end)
    if (start < end) this.#reader.forEachRun(start, end, visit)
  }

  /**
   * Whether there is a page at `address`. In memory of huge pages `forEachRun` can give a missing one, too,
   * while it is write-protected; here it does not count, nor does a page that was swapped out.
   */
  isPresent(address: number): boolean {
    this.#assertPages(address, address + pageBytes)
    const entries = readEntries(this.#fd, this.#path, this.#entry, address / pageBytes, 1)
    return entries === 1 && ((this.#entry[1] as number) & entryPresent) !== 0
  }

  #assertPages(start: number, end: number): void {
    if (this.#closed) throw new VarveError('INVALID_ARGUMENT', `${this.#path} is closed`)
    if (!(start >= 0 && start <= end && end <= 2 ** 47) || start % pageBytes !== 0 || end % pageBytes !== 0)
      throw new VarveError(
        'INVALID_ARGUMENT',
        `addresses ${start} to ${end} are not whole pages of a process`,
      )
  }

  [Symbol.dispose](): void {
    if (this.#closed) return
    this.#closed = true
    this.#reader.free()
    closeSync(this.#fd)
  }
}

type Visit = (start: number, end: number, kind: PageKind) => void

interface Reader {
  readonly way: 'PAGEMAP_SCAN' | 'read'
  forEachRun(start: number, end: number, visit: Visit): void
  free(): void
}

/** The kernel looks for the pages and gives runs of them. */
class ScanReader implements Reader {
  readonly way = 'PAGEMAP_SCAN'
  readonly supported: boolean
  readonly #fd: number
  readonly #path: string
  readonly #argument = new BigUint64Array(scanWords)
  readonly #memory = koffi().alloc('uint64_t', maxRegions * regionWords)
  /** Halves of 64-bit words: no BigInt is made for an address. */
  readonly #regions = new Uint32Array(koffi().view(this.#memory, maxRegions * regionWords * 8))

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
    const a = this.#argument
    a[0] = BigInt(scanWords * 8)
    a[5] = BigInt(koffi().address(this.#memory))
    a[6] = BigInt(maxRegions)
    // category_anyof_mask and return_mask: any of these, and say which.
    a[10] = BigInt(PAGE_IS_PRESENT | PAGE_IS_SWAPPED)
    a[11] = BigInt(PAGE_IS_FILE | PAGE_IS_PRESENT | PAGE_IS_SWAPPED)
    // Nothing to walk: an older kernel does not know the request, whatever is in it.
    this.supported = this.#scan(0, 0) !== undefined
  }

  /** How many regions were found; undefined if the kernel does not know the request. */
  #scan(start: number, end: number): number | undefined {
    const a = this.#argument
    a[2] = BigInt(start)
    a[3] = BigInt(end)
    for (;;) {
      const found = ioctl(this.#fd, PAGEMAP_SCAN, a)
      if (found >= 0) return found
      const number = errno()
      if (number === errnoNumber.ENOTTY) return undefined
      // The process has ended.
      if (number === errnoNumber.ESRCH) return 0
      if (number !== errnoNumber.EINTR) throw syscallError('PAGEMAP_SCAN', number, this.#path)
    }
  }

  forEachRun(start: number, end: number, visit: Visit): void {
    for (let from = start; from < end; ) {
      const found = this.#scan(from, end) ?? 0
      for (let region = 0; region < found; region++) {
        const at = region * regionWords * 2
        const first = this.#word(at)
        const last = this.#word(at + 2)
        visit(first, last, (this.#word(at + 4) & PAGE_IS_FILE) !== 0 ? 'file' : 'anonymous')
        from = last
      }
      // walk_end can be stale after a walk that was complete (seen on 6.18): only a full
      // list means that there is more.
      if (found < maxRegions) return
    }
  }

  #word(at: number): number {
    return (this.#regions[at] as number) + (this.#regions[at + 1] as number) * word
  }

  free(): void {
    koffi().free(this.#memory)
  }
}

/** 64 bits for every page, there or not. */
class EntryReader implements Reader {
  readonly way = 'read'
  readonly #fd: number
  readonly #path: string
  readonly #entries = new Int32Array(2 * maxEntries)

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
  }

  forEachRun(start: number, end: number, visit: Visit): void {
    let runStart = start
    let runKind: PageKind | undefined
    let from = start
    while (from < end) {
      const count = Math.min(maxEntries, (end - from) / pageBytes)
      const entries = readEntries(this.#fd, this.#path, this.#entries, from / pageBytes, count)
      // The process has ended.
      if (entries === 0) break
      for (let index = 0; index < entries; index++) {
        const kind = kindOf(this.#entries[2 * index + 1] as number)
        if (kind === runKind) continue
        const here = from + index * pageBytes
        if (runKind !== undefined) visit(runStart, here, runKind)
        runStart = here
        runKind = kind
      }
      from += entries * pageBytes
    }
    if (runKind !== undefined) visit(runStart, from, runKind)
  }

  free(): void {}
}

/** How many were read: fewer if the process has ended. */
function readEntries(fd: number, path: string, into: Int32Array, page: number, count: number): number {
  try {
    return Math.floor(readSync(fd, into, 0, count * 8, page * 8) / 8)
  } catch (error) {
    throw new VarveError('SYSCALL_FAILED', `cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function kindOf(upperHalf: number): PageKind | undefined {
  if ((upperHalf & (entryPresent | entrySwapped)) === 0) return undefined
  return (upperHalf & entryFile) !== 0 ? 'file' : 'anonymous'
}
