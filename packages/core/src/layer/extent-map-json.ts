import { VarveError } from '../errors.js'
import { pageSetLimit } from '../memory/page-set.js'
import { type ExtentMap, maxLayers, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'

/**
 * An extent map as JSON. `runs` is `[count, source, storedPage, …]`, from page 0 on without
 * a gap: where a run starts follows from the counts before it. `source` is a layer index, or
 * -1 for zero, with stored page 0.
 */
export interface ExtentMapJson {
  /** Pages of the image. */
  readonly pages: number
  /** Three numbers for each run: `count, source, storedPage`. */
  readonly runs: readonly number[]
}

/** The map as JSON, for `extentMapFromJson`. */
export function extentMapToJson(map: ExtentMap): ExtentMapJson {
  const runs = new Array<number>(map.starts.length * 3)
  for (let i = 0; i < map.starts.length; i++) {
    runs[3 * i] = map.counts[i] as number
    runs[3 * i + 1] = map.sources[i] as number
    runs[3 * i + 2] = map.storedStarts[i] as number
  }
  return { pages: map.pages, runs }
}

/**
 * Reads what `extentMapToJson` wrote; the value may come from anywhere. `storedPages` holds the page count of
 * each layer file: no run may reach behind its layer. Anything else is FORMAT_INVALID.
 */
export function extentMapFromJson(value: unknown, storedPages: readonly number[]): ExtentMap {
  const { pages, runs } = (value ?? {}) as Partial<Record<keyof ExtentMapJson, unknown>>
  if (typeof pages !== 'number' || !Number.isInteger(pages) || pages < 1 || pages > pageSetLimit)
    throw invalid(`pages ${JSON.stringify(pages)} is not within [1, 2^32 - 1]`)
  if (!Array.isArray(runs) || runs.length % 3 !== 0) throw invalid('runs is not a list of triples')
  if (storedPages.length > maxLayers) throw invalid(`${storedPages.length} layers are more than ${maxLayers}`)
  const flat: readonly unknown[] = runs
  const builder = new ExtentMapBuilder(flat.length / 3)
  let covered = 0
  for (let i = 0; i < flat.length; i += 3) {
    const [count, source, storedPage] = flat.slice(i, i + 3)
    if (!isWhole(count, 1, pages - covered)) throw invalid(`run ${i / 3}: count ${JSON.stringify(count)}`)
    if (!isWhole(source, zeroSource, storedPages.length - 1))
      throw invalid(`run ${i / 3}: source ${JSON.stringify(source)}`)
    const end = source === zeroSource ? 0 : (storedPages[source] as number) - count
    if (!isWhole(storedPage, 0, end)) throw invalid(`run ${i / 3}: stored page ${JSON.stringify(storedPage)}`)
    builder.add(count, source, storedPage)
    covered += count
  }
  if (covered !== pages) throw invalid(`its runs cover ${covered} of ${pages} pages`)
  return builder.finish()
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
}

function invalid(detail: string): VarveError {
  return new VarveError('FORMAT_INVALID', `extent map: ${detail}`)
}
