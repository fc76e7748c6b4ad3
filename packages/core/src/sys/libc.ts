import { createRequire } from 'node:module'
import { constants } from 'node:os'
import type Koffi from 'koffi'
import { type ErrorCode, VarveError } from '../errors.js'

let loaded: typeof Koffi | undefined
let libc: ReturnType<typeof Koffi.load> | undefined

/** Loaded by the first call: some 5 ms that a program without system calls does not pay. */
export function koffi(): typeof Koffi {
  loaded ??= loadKoffi()
  return loaded
}

/**
 * The package of koffi that has the native part has all that is used here. koffi's own module takes as long
 * again to find it and to wrap deprecated functions (docs/notes/start-up.md). It is the way if there is no
 * such package: koffi was compiled on this host.
 */
function loadKoffi(): typeof Koffi {
  const require = createRequire(import.meta.url)
  try {
    return createRequire(require.resolve('koffi'))(`@koromix/koffi-linux-${process.arch}`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    return require('koffi')
  }
}

/** The C library that this Node runs on (glibc or musl); its symbols are already in the process. */
function functionOf(prototype: string) {
  libc ??= koffi().load(null)
  return libc.func(prototype)
}

/**
 * Declares a libc function, on first use: verbs that make no system call do not pay for the
 * declaration. `ioctl`, `fcntl` and `syscall` are declared without `...`, which passes the same
 * registers on x86_64 and arm64 Linux.
 */
export function declare<Arguments extends readonly unknown[], Result = number>(
  prototype: string,
): (...args: Arguments) => Result {
  let call: ((...args: Arguments) => Result) | undefined
  return (...args) => {
    call ??= functionOf(prototype) as unknown as (...args: Arguments) => Result
    return call(...args)
  }
}

/**
 * Declares a libc function that is called in a thread of libuv's pool, not in JavaScript's. What memory the
 * arguments name must stay until it returns. Its errno cannot be had.
 */
export function declareAsync<Arguments extends readonly unknown[], Result = number>(
  prototype: string,
): (...args: Arguments) => Promise<Result> {
  let call: ReturnType<typeof functionOf> | undefined
  return (...args) =>
    new Promise((resolve, reject) => {
      call ??= functionOf(prototype)
      call.async(...args, (error: Error | null, result: Result) =>
        error === null ? resolve(result) : reject(error),
      )
    })
}

/** The calling thread's errno. Read it directly after the call: nothing in between may enter libc. */
export function errno(): number {
  return koffi().errno()
}

export const errnoNumber = constants.errno

/** Of two names for one number (EAGAIN, EWOULDBLOCK) the first. */
const errnoNames = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, number]) => [number, name]),
)

export function errnoName(number: number): string {
  return errnoNames.get(number) ?? `errno ${number}`
}

/** The error of a failed call: `call` is its name, `what` the thing it was for. */
export function syscallError(
  call: string,
  number: number,
  what: string,
  code: ErrorCode = 'SYSCALL_FAILED',
): VarveError {
  return new VarveError(code, `${call} failed with ${errnoName(number)}: ${what}`, {
    details: { call, errno: errnoName(number) },
  })
}
