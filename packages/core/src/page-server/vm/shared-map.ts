import type { ExtentMap } from '../../layer/extent-map.js'

/** The same image in memory that threads share: handing it to one copies nothing. */
export function sharedMap(map: ExtentMap): ExtentMap {
  const { pages, starts, counts, sources, storedStarts } = map
  const shared = (bytes: number) => new SharedArrayBuffer(bytes)
  const result: ExtentMap = {
    pages,
    starts: new Uint32Array(shared(starts.byteLength)),
    counts: new Uint32Array(shared(counts.byteLength)),
    sources: new Int16Array(shared(sources.byteLength)),
    storedStarts: new Uint32Array(shared(storedStarts.byteLength)),
  }
  result.starts.set(starts)
  result.counts.set(counts)
  result.sources.set(sources)
  result.storedStarts.set(storedStarts)
  return result
}
