/** Zstandard's limits in a framed layer: docs/formats/framed-layer-v1.md. */
const zstdMagic = 0xfd2fb528
const maxWindowBytes = 8 * 2 ** 20
/** 512 KiB are 4 blocks of 128 KiB; up to level 15, libzstd splits them into pieces of at least 8 KiB. */
const maxBlocks = 128
const maxBlockBytes = 128 * 1024
const rle = 1
const reserved = 3

/**
 * Why bytes are not the one zstd frame that a framed layer may hold; undefined if they are. It reads headers
 * only (RFC 8878, section 3.1.1). Afterwards a decompressor needs at most 8 MiB for its window and gives at
 * most 16 MiB, whatever the blocks hold, also one that takes no bound.
 */
export function zstdFrameFault(bytes: Buffer, rawBytes: number): string | undefined {
  if (bytes.length < 6 || bytes.readUInt32LE(0) !== zstdMagic) return 'no zstd frame'
  const descriptor = bytes[4] as number
  if ((descriptor & 0b1000) !== 0) return 'a reserved bit of the zstd frame is set'
  if ((descriptor & 0b11) !== 0) return 'the zstd frame wants a dictionary'
  const single = (descriptor & 0b10_0000) !== 0
  const sizeCode = descriptor >>> 6
  const sizeLength = sizeCode === 0 ? (single ? 1 : 0) : 2 ** sizeCode
  let at = single ? 5 : 6
  if (bytes.length < at + sizeLength) return 'the zstd frame is cut off'
  if (!single && windowBytes(bytes[5] as number) > maxWindowBytes)
    return `the zstd frame has a window above ${maxWindowBytes} bytes`
  if (sizeLength > 0) {
    const low = bytes.readUIntLE(at, Math.min(sizeLength, 6)) + (sizeLength === 2 ? 256 : 0)
    const high = sizeLength === 8 ? bytes.readUInt16LE(at + 6) : 0
    if (high !== 0 || low !== rawBytes) return `the zstd frame does not hold ${rawBytes} bytes`
  }
  at += sizeLength
  for (let blocks = 1; ; blocks++) {
    if (bytes.length < at + 3) return 'the zstd frame is cut off'
    if (blocks > maxBlocks) return `the zstd frame has more than ${maxBlocks} blocks`
    const header = bytes.readUIntLE(at, 3)
    const type = (header >>> 1) & 0b11
    const size = header >>> 3
    if (type === reserved || size > maxBlockBytes) return 'the zstd frame has a block that is none'
    at += 3 + (type === rle ? 1 : size)
    if ((header & 1) === 1) break
  }
  if ((descriptor & 0b100) !== 0) at += 4
  return at === bytes.length ? undefined : 'the zstd frame does not end where its bytes do'
}

function windowBytes(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3))
  return base + (base / 8) * (descriptor & 0b111)
}
