import { isVarveError, VarveError } from 'varve'
import { readStateFile, replaceRegions, type StateFile } from 'varve/state-files'
import { mutate } from './mutate.js'
import { Random } from './random.js'

interface FuzzOptions {
  /** Valid state files to start from. */
  readonly seeds: readonly Uint8Array[]
  readonly count: number
  /** Two runs with one seed do the same. */
  readonly seed: number
  readonly onProgress?: ((done: number) => void) | undefined
}

interface FuzzResult {
  /** Inputs that were valid after all. */
  readonly accepted: number
  /** Refused inputs by error code. */
  readonly refused: Readonly<Record<string, number>>
}

const readerCodes = ['FORMAT_INVALID', 'CHECKSUM_MISMATCH', 'FORMAT_UNSUPPORTED'] as const
const progressEvery = 50_000

/**
 * Gives mutated state files to the codec. Each must be refused with one of the reader's codes, or be
 * a value that can be written back and read again. Anything else is thrown, with the seed, the
 * number of the input and its bytes.
 */
export function fuzzStateFiles({ seeds, count, seed, onProgress }: FuzzOptions): FuzzResult {
  const random = new Random(seed)
  const refused: Record<string, number> = {}
  let accepted = 0
  for (let i = 0; i < count; i++) {
    const bytes = mutate(seeds, random)
    try {
      const code = check(bytes)
      if (code === undefined) accepted++
      else refused[code] = (refused[code] ?? 0) + 1
    } catch (cause) {
      const hex = Buffer.from(bytes.subarray(0, 1000)).toString('hex')
      throw new Error(`seed ${seed}, input ${i}, ${bytes.length} bytes ${hex}`, { cause })
    }
    if ((i + 1) % progressEvery === 0) onProgress?.(i + 1)
  }
  return { accepted, refused }
}

/** The code of the refusal, or undefined for a valid file. */
function check(bytes: Uint8Array): string | undefined {
  let state: StateFile
  try {
    state = readStateFile(bytes)
  } catch (error) {
    if (!isVarveError(error) || !readerCodes.some((code) => code === error.code)) throw error
    return error.code
  }
  checkSizes(state, bytes)
  const written = rewrite(bytes, state)
  if (written === undefined) return undefined
  const again = readStateFile(written)
  if (JSON.stringify(again.regions) !== JSON.stringify(state.regions)) throw new Error('other regions')
  const { start, end } = state.regionList
  const sameAround =
    Buffer.compare(bytes.subarray(0, start), written.subarray(0, start)) === 0 &&
    Buffer.compare(bytes.subarray(end, -8), written.subarray(again.regionList.end, -8)) === 0
  if (!sameAround) throw new Error('bytes outside the region list changed')
  return undefined
}

/**
 * What a file makes the reader allocate must be in proportion to its size: bitcode packs eight values a byte.
 */
function checkSizes({ regions }: StateFile, bytes: Uint8Array): void {
  const slots = regions.reduce((sum, it) => sum + it.plugged.length, 0)
  if (regions.length > bytes.length * 8 || slots > bytes.length * 8)
    throw new Error(`${regions.length} regions and ${slots} slots out of ${bytes.length} bytes`)
}

/** Undefined only if the canonical form of the list, longer than the one read, makes the file too large. */
function rewrite(bytes: Uint8Array, { regions, format }: StateFile): Uint8Array | undefined {
  try {
    return replaceRegions(bytes, regions)
  } catch (error) {
    const tooLarge = error instanceof VarveError && error.message.includes(`loads ${format.maxFileBytes}`)
    if (tooLarge) return undefined
    throw error
  }
}
