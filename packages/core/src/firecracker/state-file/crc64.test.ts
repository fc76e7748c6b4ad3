import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkCrc, crc64Jones, writeCrc } from './crc64.js'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)

/** The definition, bit by bit. */
function slowCrc(bytes: Uint8Array): bigint {
  let crc = 0n
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x95ac9329ac4bc9b5n : crc >> 1n
  }
  return crc
}

describe('crc64Jones', () => {
  test('the check value of the algorithm', () => {
    expect(crc64Jones(text('123456789'))).toBe(0xe9c6d914c4b8d9can)
    expect(crc64Jones(new Uint8Array(0))).toBe(0n)
  })

  test('agrees with the definition, and goes on from a seed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, cut) => {
        expect(crc64Jones(bytes)).toBe(slowCrc(bytes))
        expect(crc64Jones(bytes.subarray(cut), crc64Jones(bytes.subarray(0, cut)))).toBe(slowCrc(bytes))
      }),
    )
  })

  test('a written CRC checks, and finds every changed bit', () => {
    const file = text('a state file --------')
    writeCrc(file)
    const good = checkCrc(file)
    expect(good.stored).toBe(good.computed)
    for (let bit = 0; bit < file.length * 8; bit++) {
      const damaged = file.slice()
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
      const { stored, computed } = checkCrc(damaged)
      expect(stored === computed, `bit ${bit}`).toBe(false)
    }
  })
})
