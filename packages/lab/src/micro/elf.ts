const headerBytes = 64
const programHeaderBytes = 56

/** One loadable piece at a physical address. */
export interface ElfImage {
  readonly entry: number
  readonly address: number
  readonly bytes: Uint8Array
  /** Size in memory; what exceeds `bytes` is zero. */
  readonly memoryBytes: number
}

/**
 * A static 64-bit x86-64 ELF executable with one segment (System V ABI, chapters 4 and 5): what Firecracker
 * loads as an uncompressed kernel. The segment begins on a page of the file; there are no sections.
 */
export function elfExecutable(image: ElfImage): Uint8Array {
  const dataOffset = 4096
  const file = new Uint8Array(dataOffset + image.bytes.length)
  const view = new DataView(file.buffer)
  const half = (at: number, value: number) => view.setUint16(at, value, true)
  const word = (at: number, value: number) => view.setUint32(at, value, true)
  const wide = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true)

  // 64-bit, little-endian, version 1
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  half(16, 2) // executable
  half(18, 62) // x86-64
  word(20, 1)
  wide(24, image.entry)
  wide(32, headerBytes) // program headers follow at once
  half(52, headerBytes)
  half(54, programHeaderBytes)
  half(56, 1)

  const at = headerBytes
  word(at, 1) // loadable
  word(at + 4, 7) // readable, writable, executable
  wide(at + 8, dataOffset)
  wide(at + 16, image.address)
  wide(at + 24, image.address)
  wide(at + 32, image.bytes.length)
  wide(at + 40, image.memoryBytes)
  wide(at + 48, 4096)
  file.set(image.bytes, dataOffset)
  return file
}
