import { crc32 } from 'node:zlib'
import { VarveError } from '../errors.js'
import { type ExtentMap, maxLayers, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { imagePagesLimit, maxIndexRuns } from './layer-index.js'

/** The extent map as a file, docs/formats/snapshot-v1.md. */

const magic = 'VARVEMAP'
const version = 1
const headerBytes = 32
const runBytes = 12
const checksumBytes = 4
const zeroLayer = 0xffff_ffff

/** The largest file that `extentMapFromBytes` takes. */
export const maxExtentMapBytes = headerBytes + maxIndexRuns * runBytes + checksumBytes

/** `layers`: how many memory layers the snapshot has; the map may name fewer. */
export function extentMapToBytes(map: ExtentMap, layers: number): Buffer {
  const { pages, counts, sources, storedStarts } = map
  const bytes = Buffer.alloc(headerBytes + counts.length * runBytes + checksumBytes)
  bytes.write(magic, 0, 'latin1')
  bytes[8] = version
  bytes.writeUInt32LE(layers, 12)
  bytes.writeBigUInt64LE(BigInt(pages), 16)
  bytes.writeBigUInt64LE(BigInt(counts.length), 24)
  for (let i = 0, at = headerBytes; i < counts.length; i++, at += runBytes) {
    const source = sources[i] as number
    bytes.writeUInt32LE(counts[i] as number, at)
    bytes.writeUInt32LE(source === zeroSource ? zeroLayer : source, at + 4)
    bytes.writeUInt32LE(storedStarts[i] as number, at + 8)
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -checksumBytes)), bytes.length - checksumBytes)
  return bytes
}

/**
 * Reads bytes that may come from anywhere. `storedPages` holds the number of stored pages of each memory
 * layer: no run may reach behind its layer. Errors name the byte.
 */
export function extentMapFromBytes(bytes: Buffer, storedPages: readonly number[], path: string): ExtentMap {
  const fail = (
    offset: number,
    detail: string,
    code: 'FORMAT_INVALID' | 'CHECKSUM_MISMATCH' = 'FORMAT_INVALID',
  ) => new VarveError(code, `extent map ${path}, byte ${offset}: ${detail}`, { details: { path, offset } })
  if (bytes.length < headerBytes + checksumBytes || bytes.toString('latin1', 0, 8) !== magic)
    throw fail(0, 'it does not begin with the magic of an extent map')
  const found = bytes[8] as number
  if (found > version)
    throw new VarveError(
      'FORMAT_UNSUPPORTED',
      `extent map ${path}: version ${found}, this Varve knows ${version}`,
      {
        remedy: 'use a newer Varve',
        details: { path, offset: 8 },
      },
    )
  if (found !== version) throw fail(8, `version ${found} does not exist`)
  if (bytes.readUIntLE(9, 3) !== 0) throw fail(9, 'reserved bytes are not zero')
  const layers = bytes.readUInt32LE(12)
  if (layers !== storedPages.length || layers < 1 || layers > maxLayers)
    throw fail(12, `${layers} memory layers, the manifest has ${storedPages.length}`)
  const pages = Number(bytes.readBigUInt64LE(16))
  if (pages < 1 || pages > imagePagesLimit) throw fail(16, `${pages} pages`)
  const runs = Number(bytes.readBigUInt64LE(24))
  if (runs < 1 || runs > Math.min(pages, maxIndexRuns)) throw fail(24, `${runs} runs`)
  if (bytes.length !== headerBytes + runs * runBytes + checksumBytes)
    throw fail(24, `${runs} runs do not make a file of ${bytes.length} bytes`)
  const checksumAt = bytes.length - checksumBytes
  if (bytes.readUInt32LE(checksumAt) !== crc32(bytes.subarray(0, checksumAt)))
    throw fail(0, 'its CRC-32 does not fit', 'CHECKSUM_MISMATCH')
  const builder = new ExtentMapBuilder(runs)
  let covered = 0
  for (let i = 0, at = headerBytes; i < runs; i++, at += runBytes) {
    const count = bytes.readUInt32LE(at)
    const layer = bytes.readUInt32LE(at + 4)
    const storedPage = bytes.readUInt32LE(at + 8)
    if (count === 0 || count > pages - covered) throw fail(at, `run ${i} has ${count} pages`)
    if (layer === zeroLayer) {
      if (storedPage !== 0) throw fail(at + 8, `run ${i} of zeros is stored at ${storedPage}`)
      builder.add(count, zeroSource, 0)
    } else {
      const stored = storedPages[layer]
      if (stored === undefined) throw fail(at + 4, `run ${i} is in layer ${layer} of ${layers}`)
      if (storedPage + count > stored)
        throw fail(at + 8, `run ${i} ends behind the ${stored} pages of layer ${layer}`)
      builder.add(count, layer, storedPage)
    }
    covered += count
  }
  if (covered !== pages) throw fail(24, `its runs cover ${covered} of ${pages} pages`)
  const map = builder.finish()
  if (map.counts.length !== runs) throw fail(headerBytes, 'two runs that continue each other are not one')
  return map
}
