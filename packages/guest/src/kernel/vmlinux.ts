import { gunzipSync } from 'node:zlib'
import { VarveError } from 'varve'
import { runTool } from '../tools/run-tool.js'

/** An unpacked distribution kernel is some 50 MB. */
const maxKernelBytes = 256 * 1024 * 1024

interface Compression {
  readonly magic: string
  readonly unpack: (payload: Buffer, signal?: AbortSignal) => Promise<Buffer>
}

const byCommand =
  (file: string, ...args: string[]) =>
  (input: Buffer, signal?: AbortSignal): Promise<Buffer> =>
    runTool(file, args, {
      input,
      maxOutputBytes: maxKernelBytes,
      signal,
    })

/** By the first four bytes. Debian's cloud kernel has lz4's legacy frame, Ubuntu's kernels have zstd. */
const compressions: readonly Compression[] = [
  { magic: '02214c18', unpack: byCommand('lz4', '-d', '-c') },
  { magic: '28b52ffd', unpack: byCommand('zstd', '-d', '-c') },
  { magic: 'fd377a58', unpack: byCommand('xz', '-d', '-c') },
  { magic: '1f8b', unpack: async (it) => gunzipSync(it, { maxOutputLength: maxKernelBytes }) },
]

/**
 * Takes the ELF kernel, which Firecracker boots, out of a bzImage. Layout: Linux
 * Documentation/arch/x86/boot.rst, `payload_offset` counts from the protected-mode code behind the
 * boot sector and `setup_sects` sectors of 512 bytes; the payload ends with its unpacked size (u32),
 * which only gzip counts as its own.
 */
export async function unpackVmlinux(
  bzImage: Buffer,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Buffer> {
  const bad = (what: string) =>
    new VarveError('FORMAT_INVALID', `bzImage of ${bzImage.length} bytes: ${what}`)
  if (bzImage.length < 0x250 || bzImage.toString('latin1', 0x202, 0x206) !== 'HdrS')
    throw bad('no boot header')
  if (bzImage.readUInt16LE(0x206) < 0x208) throw bad('boot protocol older than 2.08 names no payload')
  const setupSectors = bzImage[0x1f1] || 4
  const start = (setupSectors + 1) * 512 + bzImage.readUInt32LE(0x248)
  const end = start + bzImage.readUInt32LE(0x24c)
  if (end > bzImage.length || end - start < 16) throw bad(`payload [${start}, ${end}) is not inside`)
  const payload = bzImage.subarray(start, end)
  const magic = payload.toString('hex', 0, 4)
  const compression = compressions.find((it) => magic.startsWith(it.magic))
  if (compression === undefined) throw bad(`unknown compression, payload starts with ${magic}`)
  const unpackedBytes = payload.readUInt32LE(payload.length - 4)
  const body = magic.startsWith('1f8b') ? payload : payload.subarray(0, -4)
  const elf = await compression.unpack(body, options.signal)
  if (elf.length !== unpackedBytes || elf.toString('hex', 0, 4) !== '7f454c46')
    throw bad(`payload unpacked to ${elf.length} bytes, not to an ELF file of ${unpackedBytes}`)
  return elf
}
