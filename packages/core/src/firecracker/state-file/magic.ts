import { VarveError } from '../../errors.js'
import type { StateFileArch, StateFileEncoding } from './formats.js'

const magics: Readonly<Record<StateFileArch, bigint>> = {
  x86_64: 0x0710_1984_8664_0000n,
  aarch64: 0x0710_1984_aaaa_0000n,
}

/** As many bytes as `probeMagic` looks at. */
export const magicProbeBytes = 9

interface Magic {
  readonly arch: StateFileArch
  readonly encoding: StateFileEncoding
  /** Bytes up to the version. */
  readonly lengthBytes: number
}

/**
 * What the first bytes of a file say, or undefined if they are not those of a state
 * file of Firecracker 1.7 or later.
 */
export function probeMagic(bytes: Uint8Array): Magic | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (const arch of ['x86_64', 'aarch64'] as const) {
    if (bytes.length >= 8 && view.getBigUint64(0, true) === magics[arch])
      return { arch, encoding: 'bincode', lengthBytes: 8 }
    // bitcode's packing byte for "a u64, not packed" comes first.
    if (bytes.length >= 9 && bytes[0] === 0 && view.getBigUint64(1, true) === magics[arch])
      return { arch, encoding: 'bitcode', lengthBytes: 9 }
  }
  return undefined
}

/** `probeMagic`, or an error that says what the file is instead. */
export function readMagic(bytes: Uint8Array): Magic {
  const magic = probeMagic(bytes)
  if (magic) return magic
  if (bytes.length >= 8) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const word = view.getBigUint64(0, true)
    // Up to Firecracker 1.6 the low 16 bits were the version of the data.
    if (Object.values(magics).includes(word & ~0xffffn))
      throw new VarveError(
        'FORMAT_UNSUPPORTED',
        `state file of data version ${word & 0xffffn}, written by Firecracker 1.6 or older`,
        { remedy: 'take the snapshot with Firecracker 1.7 or newer', details: { offset: 0 } },
      )
  }
  const start = Buffer.from(bytes.subarray(0, magicProbeBytes)).toString('hex')
  throw new VarveError('FORMAT_INVALID', `state file, byte 0: ${start || 'nothing'} is not its magic`, {
    details: { offset: 0 },
  })
}
