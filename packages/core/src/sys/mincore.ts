import { accessSync, closeSync, constants, fstatSync, openSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { pageBytes } from './abi.js'
import { declare, declareAsync, errno, errnoNumber, syscallError } from './libc.js'
import { type MemoryMapping, mapFile } from './memory-map.js'

// Safe: `vector` is a Buffer that lives for the call and holds one byte for each page of `length`.
const mincore = declare<[number, number, Uint8Array]>(
  'int mincore(uint64_t address, uint64_t length, uint8_t *vector)',
)

const mincoreBeside = declareAsync<[number, number, Uint8Array]>(
  'int mincore(uint64_t address, uint64_t length, uint8_t *vector)',
)

/** mincore(2) takes any length; 1 GiB a call (256 KiB of vector) keeps the kernel's work per call short. */
const chunkPages = 2 ** 18

/** An open file that can be asked which of its pages are in the page cache, part by part. */
export interface Residency extends Disposable {
  readonly pages: number
  /**
   * One byte a page from `firstPage` on into all of `into`, bit 0 set if resident. 26 ns a page, 1 µs a call.
   */
  read(firstPage: number, into: Uint8Array): void
  /** The same in another thread, if this one has better things to do. Not to be disposed of meanwhile. */
  readBeside(firstPage: number, into: Uint8Array): Promise<void>
}

/** `pages`: the first pages only; default the whole file. */
export function openResidency(fd: number, pages?: number): Residency {
  const sizeBytes = pages === undefined ? fstatSync(fd).size : pages * pageBytes
  const mapping = sizeBytes === 0 ? undefined : mapFile(fd, sizeBytes)
  const pagesInFile = Math.ceil(sizeBytes / pageBytes)
  /** Address and part of the vector, call by call. */
  function* calls(firstPage: number, into: Uint8Array): Generator<readonly [number, Uint8Array]> {
    if (!(firstPage >= 0 && firstPage + into.length <= pagesInFile))
      throw new VarveError(
        'INVALID_ARGUMENT',
        `pages ${firstPage}+${into.length} of a file of ${sizeBytes} bytes`,
      )
    if (mapping === undefined) return
    for (let done = 0; done < into.length; done += chunkPages)
      yield [mapping.address + (firstPage + done) * pageBytes, into.subarray(done, done + chunkPages)]
  }
  return {
    pages: pagesInFile,
    read: (firstPage, into) => {
      for (const [address, part] of calls(firstPage, into))
        if (mincore(address, part.length * pageBytes, part) !== 0)
          throw syscallError('mincore', errno(), `descriptor ${fd}`)
    },
    readBeside: async (firstPage, into) => {
      for (const [address, part] of calls(firstPage, into))
        if ((await mincoreBeside(address, part.length * pageBytes, part)) !== 0)
          // What else it says cannot be: the range is mapped, and the vector ours (mincore(2)).
          throw syscallError('mincore', errnoNumber.EAGAIN, `descriptor ${fd}`)
    },
    [Symbol.dispose]: () => mapping?.[Symbol.dispose](),
  }
}

/**
 * Which pages of an open file are in the page cache: one byte a page, bit 0 set if resident. 26 ns a page.
 * It tells of the file, not of one process: every reader, and read-ahead, counts.
 * `pages`: the first pages only; default the whole file.
 */
export function residentPages(fd: number, pages?: number): Uint8Array {
  using residency = openResidency(fd, pages)
  const vector = new Uint8Array(residency.pages)
  residency.read(0, vector)
  return vector
}

/** Whether one page of a mapped file is in the page cache. Half a µs. */
export function isResident(mapping: Pick<MemoryMapping, 'address' | 'lengthBytes'>, page: number): boolean {
  const vector = new Uint8Array(1)
  if (!(page >= 0 && (page + 1) * pageBytes <= mapping.lengthBytes)) return false
  if (mincore(mapping.address + page * pageBytes, pageBytes, vector) !== 0)
    throw syscallError('mincore', errno(), `page ${page} of a mapping`)
  return ((vector[0] as number) & 1) !== 0
}

/**
 * Whether mincore tells this process the truth about a file: since Linux 5.2 it reports everything resident
 * to a user who neither owns the file nor may write it.
 */
export function canSeeResidency(path: string): boolean {
  const fd = openSync(path, 'r')
  try {
    if (fstatSync(fd).uid === process.geteuid?.()) return true
  } finally {
    closeSync(fd)
  }
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}
