import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { pathError } from '../not-found.js'
import { type FirecrackerVersion, formatFirecrackerVersion, isAvailable } from './version.js'

/** The x86 boot protocol's magic "HdrS" ends at 0x206; every other field that is read lies before it. */
const probeBytes = 0x206
const ELFCLASS64 = 2
const ELFDATA2LSB = 1
const EM_X86_64 = 62
const EM_AARCH64 = 183

/** First bytes of compressed kernels, such as `vmlinuz` or `Image.gz` of a distribution. */
const compressed: readonly (readonly [string, string])[] = [
  ['1f8b', 'gzip'],
  ['28b52ffd', 'Zstandard'],
  ['fd377a585a00', 'xz'],
  ['02214c18', 'LZ4'],
  ['425a68', 'bzip2'],
]

/**
 * Checks by a file's first bytes that this Firecracker can boot it as a kernel, so that a wrong file is
 * refused before the launch: an uncompressed ELF file on x86_64 (also a bzImage from 1.17 on), an
 * uncompressed Image on aarch64. NOT_FOUND and PATH_INVALID (no regular file), FORMAT_INVALID (another kind
 * of file).
 */
export function assertKernelImage(
  path: string,
  version: FirecrackerVersion,
  arch: NodeJS.Architecture = process.arch,
): void {
  const start = firstBytes(path)
  const problem = arch === 'arm64' ? problemOnArm(start) : problemOnX86(start, version)
  if (problem === undefined) return
  throw new VarveError('FORMAT_INVALID', `kernel ${path} ${problem}`, {
    remedy:
      arch === 'arm64'
        ? 'use the uncompressed kernel, arch/arm64/boot/Image of a build'
        : 'use the uncompressed kernel: vmlinux of a build, or extract it from a bzImage by scripts/extract-vmlinux of the Linux sources',
    details: { path, field: 'kernel' },
  })
}

function problemOnX86(start: Buffer, version: FirecrackerVersion): string | undefined {
  if (isElf(start)) return elfProblem(start, EM_X86_64, 'x86_64')
  if (start.toString('latin1', 0x202, 0x206) === 'HdrS')
    return isAvailable({ since: ['1.17.0'] }, version)
      ? undefined
      : `is a bzImage, which Firecracker ${formatFirecrackerVersion(version)} does not boot`
  return isArmImage(start) ? 'is a kernel for aarch64' : unknownProblem(start)
}

function problemOnArm(start: Buffer): string | undefined {
  if (isArmImage(start)) return undefined
  return isElf(start) ? 'is an ELF file, which Firecracker does not boot on aarch64' : unknownProblem(start)
}

const isElf = (start: Buffer): boolean => start.toString('latin1', 0, 4) === '\x7fELF'

/** Linux, Documentation/arch/arm64/booting.rst: the magic of an Image lies at byte 56. */
const isArmImage = (start: Buffer): boolean => start.toString('latin1', 56, 60) === 'ARM\x64'

function elfProblem(start: Buffer, machine: number, name: string): string | undefined {
  if (start.length < 64) return 'is an ELF file that is cut short'
  if (start[4] !== ELFCLASS64 || start[5] !== ELFDATA2LSB) return 'is not a 64-bit little-endian ELF file'
  const found = start.readUInt16LE(18)
  if (found === machine) return undefined
  return `is an ELF file for ${found === EM_AARCH64 ? 'aarch64' : `machine ${found}`}, not for ${name}`
}

function unknownProblem(start: Buffer): string {
  if (start.length === 0) return 'is empty'
  const hex = start.toString('hex', 0, 8)
  const packing = compressed.find(([magic]) => hex.startsWith(magic))?.[1]
  return packing === undefined ? 'is no kernel: neither ELF nor Image' : `is compressed (${packing})`
}

function firstBytes(path: string): Buffer {
  const details = { path, field: 'kernel' }
  let fd: number | undefined
  try {
    // O_NONBLOCK: a FIFO must be refused, not waited for.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    if (!fstatSync(fd).isFile())
      throw new VarveError('PATH_INVALID', `kernel ${path} is not a regular file`, { details })
    const bytes = Buffer.alloc(probeBytes)
    return bytes.subarray(0, readSync(fd, bytes, 0, probeBytes, 0))
  } catch (cause) {
    if (cause instanceof VarveError) throw cause
    throw pathError(cause, `kernel ${path} cannot be read: ${(cause as Error).message}`, { details })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}
