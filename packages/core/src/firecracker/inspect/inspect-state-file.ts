import { VarveError } from '../../errors.js'
import { openRegular, readFully } from '../../sys/open-regular.js'
import { maxStateFileBytes } from '../state-file/formats.js'
import { magicProbeBytes, probeMagic } from '../state-file/magic.js'
import { readStateFile, type StateFile } from '../state-file/read-state-file.js'
import { explainRegions } from './explain-regions.js'

/** A state file, and what its regions mean. */
export interface StateFileReport extends StateFile {
  /** The file. */
  readonly path: string
  /** Sentences about the guest-physical layout. */
  readonly explanation: readonly string[]
}

/** Reads a state file and explains its regions. Errors are those of `readStateFile`, with the path. */
export async function inspectStateFile(path: string): Promise<StateFileReport> {
  const { handle, stat } = await openRegular(path, { followLinks: true })
  try {
    if (stat.size > maxStateFileBytes)
      throw new VarveError(
        'FORMAT_INVALID',
        `${path} has ${stat.size} bytes; a state file has at most ${maxStateFileBytes}`,
      )
    const bytes = new Uint8Array(stat.size)
    const length = await readFully({ handle, path }, bytes, 0)
    const state = withPath(path, () => readStateFile(bytes.subarray(0, length)))
    return { path, ...state, explanation: explainRegions(state) }
  } finally {
    await handle.close()
  }
}

/** Whether a file begins as state files of Firecracker 1.7 and later do. */
export async function isStateFile(path: string): Promise<boolean> {
  const { handle } = await openRegular(path, { followLinks: true })
  try {
    const start = new Uint8Array(magicProbeBytes)
    return probeMagic(start.subarray(0, await readFully({ handle, path }, start, 0))) !== undefined
  } finally {
    await handle.close()
  }
}

function withPath(path: string, read: () => StateFile): StateFile {
  try {
    return read()
  } catch (cause) {
    if (!(cause instanceof VarveError)) throw cause
    const { code, message, remedy, details } = cause
    throw new VarveError(code, `${path}: ${message}`, {
      cause,
      details: { path, ...details },
      ...(remedy === undefined ? {} : { remedy }),
    })
  }
}
