import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { unpackVmlinux } from './vmlinux.js'

/** A bzImage with two set-up sectors and a gzip payload 24 bytes into the protected-mode code. */
function bzImage(elf: Buffer): Buffer {
  const payload = gzipSync(elf)
  const start = (2 + 1) * 512 + 24
  const image = Buffer.alloc(start + payload.length + 100)
  image[0x1f1] = 2
  image.write('HdrS', 0x202, 'latin1')
  image.writeUInt16LE(0x20f, 0x206)
  image.writeUInt32LE(24, 0x248)
  image.writeUInt32LE(payload.length, 0x24c)
  payload.copy(image, start)
  return image
}

const elf = Buffer.concat([Buffer.from('7f454c46', 'hex'), Buffer.alloc(5000, 'kernel ')])

describe('unpackVmlinux', () => {
  test('finds and unpacks the payload', async () => {
    expect((await unpackVmlinux(bzImage(elf))).equals(elf)).toBe(true)
  })

  test('refuses a payload that is no ELF file', async () => {
    await expect(unpackVmlinux(bzImage(Buffer.alloc(100)))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test.each([
    ['no boot header', (image: Buffer) => void image.fill(0, 0x202, 0x206)],
    ['an old boot protocol', (image: Buffer) => void image.writeUInt16LE(0x207, 0x206)],
    ['a payload beyond the end', (image: Buffer) => void image.writeUInt32LE(0xffff_ffff, 0x248)],
    ['a payload length beyond the end', (image: Buffer) => void image.writeUInt32LE(0xffff_fff0, 0x24c)],
    ['no payload', (image: Buffer) => void image.writeUInt32LE(0, 0x24c)],
    ['an unknown compression', (image: Buffer) => void image.writeUInt32LE(0, 0x248)],
  ])('refuses %s', async (_, damage) => {
    const image = bzImage(elf)
    damage(image)
    await expect(unpackVmlinux(image)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test('refuses every file that is too short', async () => {
    const image = bzImage(elf)
    for (const length of [0, 0x202, 0x24f, 0x250, image.length - 101])
      await expect(unpackVmlinux(image.subarray(0, length))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test('a changed header byte gives the kernel or an error, never a crash', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0x1f0, max: 0x24f }),
        fc.integer({ min: 0, max: 255 }),
        async (at, byte) => {
          const image = bzImage(elf)
          image[at] = byte
          const result = await unpackVmlinux(image).catch((error: unknown) => error)
          if (Buffer.isBuffer(result)) expect(result.equals(elf)).toBe(true)
          else expect(result).toBeInstanceOf(Error)
        },
      ),
      { numRuns: 200 },
    )
  })
})
