import { readSync, writeSync } from 'node:fs'
import { EFD_CLOEXEC } from './abi.js'
import { declare, errno, syscallError } from './libc.js'

// Safe: integers only.
const eventfd = declare<[number, number]>('int eventfd(uint32_t initial, int flags)')

/** A descriptor that polls readable once `raiseEvent` was called. Close it with `fs.closeSync`. */
export function createEvent(): number {
  const fd = eventfd(0, EFD_CLOEXEC)
  if (fd < 0) throw syscallError('eventfd', errno(), 'a stop signal between threads')
  return fd
}

export function raiseEvent(fd: number): void {
  writeSync(fd, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))
}

/**
 * Takes a raise back, so that the descriptor polls readable again only after the next. Blocks if none came.
 */
export function clearEvent(fd: number): void {
  readSync(fd, Buffer.alloc(8))
}
