import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { makeFifo } from '../sys/fifo.js'
import { assertKernelImage } from './kernel-image.js'
import { parseFirecrackerVersion } from './version.js'

const folder = mkdtempSync(join(tmpdir(), 'varve-kernel-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const v116 = parseFirecrackerVersion('1.16.1')
const v117 = parseFirecrackerVersion('1.17.0')

function file(name: string, fill: (bytes: Buffer) => void, sizeBytes = 4096): string {
  const path = join(folder, name)
  const bytes = Buffer.alloc(sizeBytes)
  fill(bytes)
  writeFileSync(path, bytes)
  return path
}
const elf = (machine: number, elfClass = 2) =>
  file(`elf-${machine}-${elfClass}`, (it) => {
    it.write('\x7fELF', 'latin1')
    it[4] = elfClass
    it[5] = 1
    it.writeUInt16LE(machine, 18)
  })
const bzImage = file('bzImage', (it) => {
  it.writeUInt16LE(0xaa55, 0x1fe)
  it.write('HdrS', 0x202)
})
const image = file('Image', (it) => it.write('ARM\x64', 56, 'latin1'))
const gzip = file('Image.gz', (it) => it.write('1f8b08', 'hex'))
const zeros = file('zeros', () => {})
const empty = file('empty', () => {}, 0)
const short = file('short', (it) => it.write('\x7fELF', 'latin1'), 20)
const fifo = join(folder, 'fifo')
makeFifo(fifo, 0o600)

test('what each architecture boots passes', () => {
  expect(() => assertKernelImage(elf(62), v116, 'x64')).not.toThrow()
  expect(() => assertKernelImage(bzImage, v117, 'x64')).not.toThrow()
  expect(() => assertKernelImage(image, v116, 'arm64')).not.toThrow()
})

test.each([
  [
    'a bzImage before 1.17',
    bzImage,
    'x64',
    'FORMAT_INVALID',
    /bzImage, which Firecracker 1\.16\.1 does not boot/,
  ],
  ['a bzImage on aarch64', bzImage, 'arm64', 'FORMAT_INVALID', /neither ELF nor Image/],
  ['an ELF file for aarch64', elf(183), 'x64', 'FORMAT_INVALID', /for aarch64, not for x86_64/],
  ['an ELF file for another machine', elf(243), 'x64', 'FORMAT_INVALID', /for machine 243/],
  ['a 32-bit ELF file', elf(62, 1), 'x64', 'FORMAT_INVALID', /not a 64-bit/],
  ['a cut ELF file', short, 'x64', 'FORMAT_INVALID', /cut short/],
  ['an ELF file on aarch64', elf(183), 'arm64', 'FORMAT_INVALID', /does not boot on aarch64/],
  ['an Image on x86_64', image, 'x64', 'FORMAT_INVALID', /for aarch64/],
  ['a compressed Image', gzip, 'arm64', 'FORMAT_INVALID', /compressed \(gzip\)/],
  ['zeros', zeros, 'x64', 'FORMAT_INVALID', /no kernel/],
  ['an empty file', empty, 'x64', 'FORMAT_INVALID', /is empty/],
  ['a directory', folder, 'x64', 'PATH_INVALID', /not a regular file/],
  ['a FIFO', fifo, 'x64', 'PATH_INVALID', /not a regular file/],
  ['a long name', 'x'.repeat(5000), 'x64', 'PATH_INVALID', /ENAMETOOLONG/],
  ['a missing file', join(folder, 'none'), 'x64', 'NOT_FOUND', /cannot be read/],
] as const)('%s is refused, with the path', (_, path, arch, code, message) => {
  expect(() => assertKernelImage(path, v116, arch)).toThrow(
    expect.objectContaining({
      code,
      message: expect.stringMatching(message),
      details: expect.objectContaining({ path, field: 'kernel' }),
    }),
  )
})
