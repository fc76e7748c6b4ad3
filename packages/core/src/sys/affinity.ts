import { readdirSync, readFileSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { declare, errno, errnoNumber, syscallError } from './libc.js'

// Safe: integers only.
const gettid = declare<[]>('int gettid()')
// Safe: the mask has `bytes` bytes and lives for the call.
const setAffinity = declare<[number, number, Uint32Array]>(
  'int sched_setaffinity(int thread, size_t bytes, const uint32_t *mask)',
)
const getAffinity = declare<[number, number, Uint32Array]>(
  'int sched_getaffinity(int thread, size_t bytes, uint32_t *mask)',
)

/** Linux has at most 8,192 CPUs on the architectures that Firecracker runs on. */
export const maxCpus = 8192

/** The calling thread. */
export function threadId(): number {
  return gettid()
}

/** Which CPUs a thread (0: the calling one) may run on. */
export function threadCpus(thread: number): readonly number[] {
  const mask = new Uint32Array(maxCpus / 32)
  if (getAffinity(thread, mask.byteLength, mask) !== 0)
    throw syscallError('sched_getaffinity', errno(), `thread ${thread}`)
  return Array.from({ length: maxCpus }, (_, cpu) => cpu).filter(
    (cpu) => ((mask[cpu >>> 5] as number) & (1 << (cpu & 31))) !== 0,
  )
}

/** Lets a thread run on these CPUs only. INVALID_ARGUMENT if none of them is there for this process. */
export function placeThread(thread: number, cpus: readonly number[]): void {
  const mask = new Uint32Array(maxCpus / 32)
  for (const cpu of cpus) mask[cpu >>> 5] = (mask[cpu >>> 5] as number) | (1 << (cpu & 31))
  if (setAffinity(thread, mask.byteLength, mask) === 0) return
  const number = errno()
  if (number === errnoNumber.EINVAL)
    throw new VarveError('INVALID_ARGUMENT', `CPU ${cpus.join(', ')} is not there, or not for this process`, {
      remedy: 'nproc and taskset -p show the allowed CPUs',
    })
  throw syscallError('sched_setaffinity', number, `thread ${thread}`)
}

/** The threads of a process whose name begins so (`fc_vcpu `); none if it has ended. */
export function threadsNamed(pid: number, begin: string): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .filter((thread) => readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').startsWith(begin))
      .map(Number)
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}
