import { isVarveError } from '../../errors.js'
import { crcBytes } from './crc64.js'
import { readStateFile, type StateFile } from './read-state-file.js'

/** A path that a state file may have Firecracker open. */
export interface PathString {
  /** Of its text in the file, bytes. */
  readonly offset: number
  readonly path: string
}

/** PATH_MAX: the kernel refuses a longer one. */
const maxPathBytes = 4095
/** A u64 count. */
const countBytes = 8

const text = new TextDecoder('utf-8', { fatal: true })

/**
 * Every text with a slash in it in what follows the memory regions: devices, vCPUs and the rest. In bincode a String is a u64
 * count and so many bytes of UTF-8, wherever it stands, so that none is missed; numbers that look like one can be among
 * them. Names without a slash are left out: they lie in the VMM's own directory. Undefined where texts are not kept so
 * (bitcode, from Firecracker 1.15 on) or the version is not known. Errors: those of `readStateFile` for damaged files.
 */
export function pathStrings(
  stateFile: Buffer,
  state: StateFile | undefined = readIfKnown(stateFile),
): readonly PathString[] | undefined {
  if (state?.encoding !== 'bincode') return undefined
  const found: PathString[] = []
  const end = stateFile.length - crcBytes
  for (let at = state.regionList.end as number; at + countBytes < end; at++) {
    const count = countAt(stateFile, at)
    const offset = at + countBytes
    if (count < 2 || count > maxPathBytes || offset + count > end) continue
    const path = pathOf(stateFile.subarray(offset, offset + count))
    if (path !== undefined) found.push({ offset, path })
  }
  return found
}

/** Undefined where the version is not known: Firecracker itself may know it. */
export function readIfKnown(stateFile: Buffer): StateFile | undefined {
  try {
    return readStateFile(stateFile)
  } catch (error) {
    if (isVarveError(error, 'FORMAT_UNSUPPORTED')) return undefined
    throw error
  }
}

/** 0 where the upper bytes are set: far longer than any path. The loop sees mostly those. */
const countAt = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at + 4) === 0 ? bytes.readUInt32LE(at) : 0

function pathOf(bytes: Buffer): string | undefined {
  // A NUL ends a path, and Firecracker refuses one: looked for first, as it is what most numbers have.
  if (bytes.includes(0) || !bytes.includes('/')) return undefined
  try {
    return text.decode(bytes)
  } catch {
    return undefined
  }
}
