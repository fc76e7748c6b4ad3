import { declare, errno, errnoNumber, syscallError } from './libc.js'

// Safe: the buffer holds `count` struct pollfd (8 bytes each: int fd, short events, short
// revents) and lives for the call.
const pollCall = declare<[Int32Array, number, number]>(
  'int poll(int32_t *fds, unsigned long count, int timeoutMs)',
)

const pollReadable = 1
/** POLLERR, POLLHUP or POLLNVAL: the descriptor is of no more use. */
const pollBroken = 8 | 16 | 32

/**
 * A fixed set of descriptors waited on together for input. Allocates once; waiting allocates nothing. Blocks
 * the calling thread: for workers and single-purpose processes.
 */
export class Poller {
  readonly #entries: Int32Array
  readonly #count: number

  constructor(descriptors: readonly number[]) {
    this.#count = descriptors.length
    this.#entries = new Int32Array(descriptors.length * 2)
    descriptors.forEach((fd, index) => {
      this.#entries[index * 2] = fd
      this.#entries[index * 2 + 1] = pollReadable
    })
  }

  /**
   * Waits up to `timeoutMs` (-1: for ever) and gives how many descriptors have something; 0 after the time.
   */
  wait(timeoutMs: number): number {
    for (;;) {
      const ready = pollCall(this.#entries, this.#count, timeoutMs)
      if (ready >= 0) return ready
      const number = errno()
      if (number !== errnoNumber.EINTR) throw syscallError('poll', number, `${this.#count} descriptors`)
    }
  }

  /** Whether descriptor `index` had input (or an end of file) at the last wait. */
  readable(index: number): boolean {
    return (((this.#entries[index * 2 + 1] as number) >> 16) & (pollReadable | pollBroken)) !== 0
  }

  /** Whether descriptor `index` reported an error or a hang-up at the last wait. */
  broken(index: number): boolean {
    return (((this.#entries[index * 2 + 1] as number) >> 16) & pollBroken) !== 0
  }
}
