import {
  UFFD_API,
  UFFDIO_API,
  UFFDIO_COPY,
  UFFDIO_COPY_MODE_WP,
  UFFDIO_REGISTER,
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_UNREGISTER,
  UFFDIO_WAKE,
  UFFDIO_WRITEPROTECT,
  UFFDIO_WRITEPROTECT_MODE_WP,
  UFFDIO_ZEROPAGE,
} from './abi.js'
import { declare, errno, errnoNumber, syscallError } from './libc.js'

const eventPagefault = 0x12
const eventRemove = 0x15
/** struct uffd_msg. */
const messageBytes = 32
/**
 * One read takes this many; Firecracker has at most 32 vCPUs and a few device threads that can fault at once.
 */
export const maxMessages = 64

/** asm/unistd.h; undefined if the architecture is not supported. */
export const SYS_userfaultfd: number | undefined = { x64: 323, arm64: 282 }[process.arch as string]

// Safe: integers only.
const userfaultfd = declare<[number, number]>('long syscall(long number, int flags)')
// Safe: `argument` holds the structure of the request (at most 40 bytes) and lives for the call. What the
// structure points at is checked by the kernel (destination) and by `UserfaultOps.copy` (source).
const ioctl = declare<[number, number, Uint32Array]>(
  'int ioctl(int fd, unsigned long request, uint32_t *argument)',
)
// Safe: the buffer lives for the call and has `count` bytes.
const read = declare<[number, Uint32Array, number], number | bigint>(
  'int64_t read(int fd, uint32_t *buffer, uint64_t count)',
)

const word = 2 ** 32

/** A userfaultfd of this process, for tests: Firecracker makes its own and sends it. */
export function createUserfaultfd(features: number): number {
  const O_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000
  const fd = userfaultfd(SYS_userfaultfd ?? -1, O_CLOEXEC_NONBLOCK)
  if (fd < 0) throw syscallError('userfaultfd', errno(), 'see varve doctor', 'HOST_UNSUPPORTED')
  const argument = new Uint32Array([UFFD_API, 0, features, 0, 0, 0])
  if (ioctl(fd, UFFDIO_API, argument) !== 0) throw syscallError('UFFDIO_API', errno(), `features ${features}`)
  return fd
}

export function registerMissing(fd: number, address: number, lengthBytes: number): void {
  register(fd, address, lengthBytes, UFFDIO_REGISTER_MODE_MISSING)
}

/**
 * Asks for faults on missing and on write-protected pages. A handler may do this to a range that another
 * process registered as missing only: the modes are replaced.
 */
export function registerMissingAndWriteProtected(fd: number, address: number, lengthBytes: number): void {
  register(fd, address, lengthBytes, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP)
}

function register(fd: number, address: number, lengthBytes: number, mode: number): void {
  const argument = new Uint32Array(8)
  setRange(argument, address, lengthBytes)
  argument[4] = mode
  if (ioctl(fd, UFFDIO_REGISTER, argument) !== 0)
    throw syscallError('UFFDIO_REGISTER', errno(), `${lengthBytes} bytes at ${address}`)
}

export function unregister(fd: number, address: number, lengthBytes: number): void {
  const argument = new Uint32Array(4)
  setRange(argument, address, lengthBytes)
  if (ioctl(fd, UFFDIO_UNREGISTER, argument) !== 0)
    throw syscallError('UFFDIO_UNREGISTER', errno(), `${lengthBytes} bytes at ${address}`)
}

/** Number halves instead of BigInt: nothing is allocated on the way of a fault. Addresses stay below 2^47. */
function setRange(argument: Uint32Array, address: number, lengthBytes: number): void {
  argument[0] = address % word
  argument[1] = Math.floor(address / word)
  argument[2] = lengthBytes % word
  argument[3] = Math.floor(lengthBytes / word)
}

/**
 * What became of an installation: done, already there, or to be tried again after pending events were read.
 */
export type InstallResult = 'installed' | 'exists' | 'again' | 'gone'

/** Memory that pages are copied from: an address range of this process that the kernel reads. */
export interface CopySource {
  readonly address: number
  readonly lengthBytes: number
}

/**
 * The receiver of events. Methods, not functions made for each VM: V8 compiles `readEvents` for the functions
 * that it calls, and would throw that away at the first fault of the next VM.
 */
export interface UserfaultEvents {
  /** Flags as in struct uffd_msg. */
  onPagefault(address: number, flags: number): void
  onRemove(start: number, end: number): void
}

/**
 * Reading faults from and installing pages through one userfaultfd. All buffers
 * are made once. One thread only.
 */
export class UserfaultOps {
  readonly #fd: number
  readonly #messages = new Uint32Array((messageBytes / 4) * maxMessages)
  readonly #copy = new Uint32Array(10)
  readonly #zero = new Uint32Array(8)
  readonly #range = new Uint32Array(4)
  readonly #nothing = new Uint32Array(10)
  readonly #protect = new Uint32Array(6)

  constructor(fd: number) {
    this.#fd = fd
  }

  /**
   * Reads what is pending, without waiting (the descriptor is non-blocking), and calls back once an event.
   * Addresses are in bytes. Gives the number of events.
   *
   * Removals come first, although the kernel hands out faults before older events: once a removal
   * was read, nothing holds a copy back any more, and old content could be installed in a page that
   * is being, or has been, removed.
   */
  readEvents(to: UserfaultEvents): number {
    const bytes = Number(read(this.#fd, this.#messages, messageBytes * maxMessages))
    if (bytes < 0) {
      const number = errno()
      if (number === errnoNumber.EAGAIN || number === errnoNumber.EINTR) return 0
      throw syscallError('read', number, 'userfaultfd events')
    }
    const count = Math.floor(bytes / messageBytes)
    // Nothing but these two is asked for at UFFDIO_API by Firecracker.
    for (let index = 0; index < count; index++)
      if (this.#isEvent(index, eventRemove)) to.onRemove(this.#word(index, 1), this.#word(index, 2))
    for (let index = 0; index < count; index++)
      if (this.#isEvent(index, eventPagefault)) to.onPagefault(this.#word(index, 2), this.#word(index, 1))
    return count
  }

  #isEvent(index: number, event: number): boolean {
    return ((this.#messages[(index * messageBytes) / 4] as number) & 0xff) === event
  }

  /** The n-th 64-bit word of a message. Both events have their two values in words 1 and 2. */
  #word(index: number, n: number): number {
    const at = (index * messageBytes) / 4 + 2 * n
    return (this.#messages[at] as number) + (this.#messages[at + 1] as number) * word
  }

  /**
   * Copies `lengthBytes` from `source` at `sourceOffset` to `address` of the other process and wakes who
   * waits there. The one place that issues UFFDIO_COPY: the kernel does not check that the source is what was
   * meant, so this does. `protect` installs write-protected pages; the range must be registered for that.
   */
  copy(
    address: number,
    source: CopySource,
    sourceOffset: number,
    lengthBytes: number,
    protect = false,
  ): InstallResult {
    // Worded so that NaN is refused as well.
    if (!(sourceOffset >= 0 && lengthBytes > 0 && sourceOffset + lengthBytes <= source.lengthBytes))
      throw syscallError(
        'UFFDIO_COPY',
        errnoNumber.EFAULT,
        `source ${sourceOffset}+${lengthBytes} of ${source.lengthBytes} bytes`,
      )
    const from = source.address + sourceOffset
    const c = this.#copy
    c[0] = address % word
    c[1] = Math.floor(address / word)
    c[2] = from % word
    c[3] = Math.floor(from / word)
    c[4] = lengthBytes % word
    c[5] = Math.floor(lengthBytes / word)
    c[6] = protect ? UFFDIO_COPY_MODE_WP : 0
    c[7] = 0
    c[8] = 0
    c[9] = 0
    if (ioctl(this.#fd, UFFDIO_COPY, c) === 0) return 'installed'
    return this.#failure('UFFDIO_COPY', errno(), address, lengthBytes)
  }

  zero(address: number, lengthBytes: number): InstallResult {
    const z = this.#zero
    setRange(z, address, lengthBytes)
    z[4] = 0
    z[5] = 0
    z[6] = 0
    z[7] = 0
    if (ioctl(this.#fd, UFFDIO_ZEROPAGE, z) === 0) return 'installed'
    return this.#failure('UFFDIO_ZEROPAGE', errno(), address, lengthBytes)
  }

  /**
   * Whether a removal waits to be read. (UFFDIO_COPY says EAGAIN then before it looks at anything else, and
   * EINVAL to this empty one otherwise.)
   */
  removalPending(): boolean {
    return ioctl(this.#fd, UFFDIO_COPY, this.#nothing) !== 0 && errno() === errnoNumber.EAGAIN
  }

  /** Has writes to protected pages of a range reported, too: see `registerMissingAndWriteProtected`. */
  reportWrites(address: number, lengthBytes: number): void {
    registerMissingAndWriteProtected(this.#fd, address, lengthBytes)
  }

  /** Takes a range out of the userfaultfd: who waits there goes on as if it had never been in it. */
  unregister(address: number, lengthBytes: number): void {
    unregister(this.#fd, address, lengthBytes)
  }

  /** Wakes threads that wait in the range without installing anything. */
  wake(address: number, lengthBytes: number): void {
    setRange(this.#range, address, lengthBytes)
    if (ioctl(this.#fd, UFFDIO_WAKE, this.#range) !== 0)
      throw syscallError('UFFDIO_WAKE', errno(), `${lengthBytes} bytes at ${address}`)
  }

  /**
   * Write-protects the present pages of a range, or lifts that and wakes who waits to write. The
   * range must be registered for it.
   */
  writeProtect(address: number, lengthBytes: number, on: boolean): InstallResult {
    setRange(this.#protect, address, lengthBytes)
    this.#protect[4] = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0
    if (ioctl(this.#fd, UFFDIO_WRITEPROTECT, this.#protect) === 0) return 'installed'
    return this.#failure('UFFDIO_WRITEPROTECT', errno(), address, lengthBytes)
  }

  /** Bytes that the last refused `copy` had installed before it stopped. */
  get copiedBytes(): number {
    return doneBytes(this.#copy[8] as number, this.#copy[9] as number)
  }

  /** Bytes that the last refused `zero` had installed before it stopped. */
  get zeroedBytes(): number {
    return doneBytes(this.#zero[6] as number, this.#zero[7] as number)
  }

  #failure(call: string, number: number, address: number, lengthBytes: number): InstallResult {
    if (number === errnoNumber.EEXIST) return 'exists'
    if (number === errnoNumber.EAGAIN) return 'again'
    // ESRCH: the other process has ended. ENOENT: the range is no longer registered.
    if (number === errnoNumber.ESRCH || number === errnoNumber.ENOENT) return 'gone'
    throw syscallError(call, number, `${lengthBytes} bytes at ${address}`)
  }
}

/** The result field holds bytes done or a negative error number. */
function doneBytes(low: number, high: number): number {
  return high === 0 ? low : 0
}
