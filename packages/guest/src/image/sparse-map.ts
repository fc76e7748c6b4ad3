import type { VarveError } from 'varve'
import type { ByteReader } from './byte-reader.js'
import { blockBytes } from './tar-header.js'

/** A stretch of a file that has bytes; what lies between is a hole. */
export interface DataExtent {
  readonly start: number
  readonly length: number
}

/** 64 MiB of map. */
const maxExtents = 2 ** 20

/**
 * Reads the map in front of a sparse file's data (GNU's pax form 1.0): the number of extents, then the start
 * and length of each, decimal, one a line, padded to a block. Extents ascend and lie within the file.
 */
export async function readSparseMap(
  reader: ByteReader,
  sizeBytes: number,
  storedBytes: number,
  fail: (what: string) => VarveError,
): Promise<readonly DataExtent[]> {
  let text = ''
  let mapBytes = 0
  const nextNumber = async (): Promise<number> => {
    for (;;) {
      const end = text.indexOf('\n')
      if (end >= 0) {
        const digits = text.slice(0, end)
        text = text.slice(end + 1)
        if (!/^\d{1,15}$/.test(digits)) throw fail('the map of a sparse file has something else than numbers')
        return Number(digits)
      }
      if (text.length > 16 || mapBytes + blockBytes > storedBytes)
        throw fail('the map of a sparse file does not end')
      const block = await reader.read(blockBytes)
      if (block.length < blockBytes) throw fail('the archive ends within the map of a sparse file')
      mapBytes += blockBytes
      text += block.toString('latin1')
    }
  }
  const count = await nextNumber()
  if (count > maxExtents) throw fail(`a sparse file of ${count} extents`)
  const extents: DataExtent[] = []
  let end = 0
  let dataBytes = 0
  for (let i = 0; i < count; i++) {
    const start = await nextNumber()
    const length = await nextNumber()
    if (start < end || start + length > sizeBytes) throw fail(`extent ${i} of a sparse file is out of place`)
    end = start + length
    dataBytes += length
    if (length > 0) extents.push({ start, length })
  }
  if (mapBytes + dataBytes !== storedBytes)
    throw fail(`a sparse file stores ${storedBytes} bytes, its map says ${mapBytes + dataBytes}`)
  return extents
}
