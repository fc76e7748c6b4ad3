import { writeCrc } from '../crc64.js'
import { cpuTemplates, hugePageSettings, type StateFileArch, type StateFormat } from '../formats.js'
import type { RegionSpec } from '../replace-regions.js'
import type { VmInfo } from '../vm-info.js'

/**
 * State files made from the page docs/formats/firecracker-state-file.md, for tests of formats that no
 * golden file has. Shares no code with the reader and writer but the CRC; bitcode is written without
 * packing, as its readers accept.
 */
interface SyntheticStateFile {
  readonly format: StateFormat
  readonly arch: StateFileArch
  readonly vmInfo: VmInfo
  readonly capModifiers?: readonly string[]
  readonly regions: readonly RegionSpec[]
  /** What stands for the devices. By default the GSI allocator of x86_64 and some bytes. */
  readonly tail?: Uint8Array
}

const defaultTail = Buffer.from('05000000010600000017000000aabbccddeeff0011', 'hex')

export function buildStateFile(spec: SyntheticStateFile): Uint8Array {
  const parts = spec.format.encoding === 'bincode' ? bincode(spec) : bitcode(spec)
  const file = new Uint8Array(Buffer.concat([...parts, spec.tail ?? defaultTail, new Uint8Array(8)]))
  writeCrc(file)
  return file
}

const u8 = (...values: number[]): Buffer => Buffer.from(values)

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

const magic = (arch: StateFileArch): Buffer =>
  u64(arch === 'x86_64' ? 0x0710_1984_8664_0000n : 0x0710_1984_aaaa_0000n)

function bincode({ format, arch, vmInfo, capModifiers = [], regions }: SyntheticStateFile): Buffer[] {
  const string = (text: string): Buffer => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)])
  const option = (text: string | undefined): Buffer =>
    text === undefined ? u8(0) : Buffer.concat([u8(1), string(text)])
  let sum = 0
  return [
    magic(arch),
    string(format.snapshotVersion),
    u64(vmInfo.memSizeMib),
    u8(vmInfo.smt ? 1 : 0),
    u32(cpuTemplates[arch].indexOf(vmInfo.cpuTemplate)),
    string(vmInfo.kernelPath),
    option(vmInfo.initrdPath),
    option(vmInfo.bootArgs),
    u32(vmInfo.hugePages === 'not known' ? 2 : hugePageSettings.indexOf(vmInfo.hugePages)),
    ...(format.hasCapModifiers ? [u64(capModifiers.length), ...capModifiers.map(string)] : []),
    u64(regions.length),
    ...regions.flatMap(({ guestAddress, sizeBytes, fileOffset, type, plugged = [true] }) => {
      const offset = fileOffset ?? sum
      sum += sizeBytes
      return [
        u64(guestAddress),
        u64(sizeBytes),
        ...(format.record === 'offset' ? [u64(offset)] : []),
        ...(format.record === 'slots'
          ? [
              u32(type === 'hotpluggable' ? 1 : 0),
              u64(plugged.length),
              ...plugged.map((it) => u8(it ? 1 : 0)),
            ]
          : []),
      ]
    }),
  ]
}

function bitcode({ format, arch, vmInfo, capModifiers = [], regions }: SyntheticStateFile): Buffer[] {
  const bytes = (values: readonly number[]): Buffer => (values.length <= 2 ? u8(...values) : u8(0, ...values))
  const u64s = (values: readonly number[]): Buffer =>
    values.length === 0 ? u8() : Buffer.concat([u8(0), ...values.map(u64)])
  const lengths = (values: readonly number[]): Buffer =>
    Buffer.concat([bytes(values.map((it) => Math.min(it, 255))), u64s(values.filter((it) => it >= 255))])
  const texts = (values: readonly string[]): Buffer =>
    Buffer.concat([lengths(values.map((it) => Buffer.byteLength(it))), Buffer.from(values.join(''))])
  const option = (text: string | undefined): Buffer =>
    text === undefined ? u8(0) : Buffer.concat([u8(1), texts([text])])
  const slots = regions.flatMap(({ plugged = [true] }) => plugged)
  const bits = Buffer.alloc(Math.ceil(slots.length / 8))
  slots.forEach((plugged, i) => {
    if (plugged) bits.writeUInt8(bits.readUInt8(i >> 3) + (1 << (i & 7)), i >> 3)
  })
  return [
    u8(0),
    magic(arch),
    texts([format.snapshotVersion]),
    u64s([vmInfo.memSizeMib]),
    u8(vmInfo.smt ? 1 : 0),
    u8(cpuTemplates[arch].indexOf(vmInfo.cpuTemplate)),
    texts([vmInfo.kernelPath]),
    option(vmInfo.initrdPath),
    option(vmInfo.bootArgs),
    // Any number may stand for a setting that is not known.
    u8(vmInfo.hugePages === 'not known' ? 2 : hugePageSettings.indexOf(vmInfo.hugePages)),
    lengths([capModifiers.length]),
    ...(capModifiers.length > 0 ? [texts(capModifiers)] : []),
    lengths([regions.length]),
    u64s(regions.map((it) => it.guestAddress)),
    u64s(regions.map((it) => it.sizeBytes)),
    bytes(regions.map((it) => (it.type === 'hotpluggable' ? 1 : 0))),
    lengths(regions.map(({ plugged = [true] }) => plugged.length)),
    bits,
  ]
}
