import { isVarveError } from '../../errors.js'
import { crcBytes } from './crc64.js'
import { readStateFile, type StateFile } from './read-state-file.js'

/** A path that a state file may make Firecracker open. */
export interface PathString {
  /** Offset of its text in the file, in bytes. */
  readonly offset: number
  readonly path: string
}

/** PATH_MAX: the kernel refuses a longer one. */
const maxPathBytes = 4095
/** A u64 count. */
const countBytes = 8

const text = new TextDecoder('utf-8', { fatal: true })

/**
 * Finds every text with a slash behind the memory regions: in devices, vCPUs and the rest. In bincode a
 * String is always a u64 count and that many bytes of UTF-8, so none is missed; but numbers that look like a
 * text can be among the results. Names without a slash are left out: they lie in the VMM's own directory.
 * Undefined if the format keeps texts in another way (bitcode, from Firecracker 1.15 on) or the version is
 * not known. Errors: those of `readStateFile` for damaged files.
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

/** Undefined if the version is not known to Varve; Firecracker itself may know it. */
export function readIfKnown(stateFile: Buffer): StateFile | undefined {
  try {
    return readStateFile(stateFile)
  } catch (error) {
    if (isVarveError(error, 'FORMAT_UNSUPPORTED')) return undefined
    throw error
  }
}

/** 0 if the upper bytes are set, because no path is that long. Most offsets are such numbers. */
const countAt = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at + 4) === 0 ? bytes.readUInt32LE(at) : 0

function pathOf(bytes: Buffer): string | undefined {
  // Firecracker refuses a path with a NUL. Checked first, because most numbers contain one.
  if (bytes.includes(0) || !bytes.includes('/')) return undefined
  try {
    return text.decode(bytes)
  } catch {
    return undefined
  }
}
