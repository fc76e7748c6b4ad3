import { declare, errno, errnoNumber, syscallError } from './libc.js'
import type { MemoryMapping } from './memory-map.js'

// Safe: both lists live for the call. The kernel checks each range that they name, and gives an error, not a
// signal, for a part of a mapped file that is no longer there.
const processVmReadv = declare<[number, Uint32Array, number, Uint32Array, number, number], number | bigint>(
  'int64_t process_vm_readv(int pid, uint32_t *local, uint64_t locals, uint32_t *remote, uint64_t remotes, uint64_t flags)',
)

const word = 2 ** 32
/** struct iovec: address and length, 64 bits each. */
const iovecWords = 4

/**
 * Copies ranges of this process's memory, one behind the other, into another range of it, in one system call:
 * 2 MiB of 512 pieces in some 250 µs. Mapped files are read by the kernel, never by JavaScript.
 */
export class Gather {
  readonly #pieces: Uint32Array
  readonly #target = new Uint32Array(iovecWords)
  #count = 0
  #bytes = 0

  /** `most` pieces: 1,024 at most (IOV_MAX). */
  constructor(most: number) {
    this.#pieces = new Uint32Array(most * iovecWords)
  }

  /** `address`: of memory of this process that stays mapped until `into` returns. */
  add(address: number, lengthBytes: number): void {
    setRange(this.#pieces.subarray(this.#count * iovecWords), address, lengthBytes)
    this.#count++
    this.#bytes += lengthBytes
  }

  /**
   * Copies all that was added to the begin of `memory`, and forgets it. SYSCALL_FAILED if a part cannot be
   * read.
   */
  into(memory: MemoryMapping): void {
    const [count, bytes] = [this.#count, this.#bytes]
    this.#count = 0
    this.#bytes = 0
    if (bytes > memory.lengthBytes)
      throw syscallError('process_vm_readv', errnoNumber.EFAULT, `${bytes} of ${memory.lengthBytes} bytes`)
    setRange(this.#target, memory.address, bytes)
    const read = Number(processVmReadv(process.pid, this.#target, 1, this.#pieces, count, 0))
    if (read === bytes) return
    const number = read < 0 ? errno() : errnoNumber.EFAULT
    throw syscallError('process_vm_readv', number, `${Math.max(read, 0)} of ${bytes} bytes of layers`)
  }
}

function setRange(iovec: Uint32Array, address: number, lengthBytes: number): void {
  iovec[0] = address % word
  iovec[1] = Math.floor(address / word)
  iovec[2] = lengthBytes % word
  iovec[3] = Math.floor(lengthBytes / word)
}
