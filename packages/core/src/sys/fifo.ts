import { declare, errno, syscallError } from './libc.js'

// Safe: koffi copies the string into a zero-terminated buffer that lives for the call.
const mkfifo = declare<[string, number]>('int mkfifo(const char *path, uint32_t mode)')

/** Makes a named pipe (mkfifo(3)); an existing path is an error. */
export function makeFifo(path: string, mode: number): void {
  if (mkfifo(path, mode) !== 0) throw syscallError('mkfifo', errno(), path)
}
