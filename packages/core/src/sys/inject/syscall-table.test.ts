import fc from 'fast-check'
import { expect, test } from 'vitest'
import { entryBytes, SyscallTable } from './syscall-table.js'

const word = fc.oneof(
  fc.integer({ min: -4095, max: 2 ** 31 - 1 }),
  fc.integer({ min: 0, max: 2 ** 47 - 1 }),
  fc.constantFrom(0, -1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
)
const entry = fc.record({
  number: fc.integer({ min: 0, max: 500 }),
  args: fc.array(word, { minLength: 6, maxLength: 6 }),
})

test('entries are seven little-endian words of 64 bits, negative ones in two’s complement', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 600 }), (entries) => {
      const table = new SyscallTable()
      for (const { number, args } of entries)
        table.add(number, ...(args as [number, number, number, number, number, number]))
      expect(table.length).toBe(entries.length)
      expect(table.entries()).toEqual(entries)
      const bytes = Buffer.from(table.bytes(0, table.length))
      expect(bytes.length).toBe(entries.length * entryBytes)
      entries.forEach(({ number, args }, index) => {
        const words = Array.from({ length: 7 }, (_, i) =>
          Number(bytes.readBigInt64LE(index * entryBytes + 8 * i)),
        )
        expect(words).toEqual([number, ...args])
      })
    }),
    { numRuns: 30 },
  )
})

test('what is written over the first word of an entry is its result; number and arguments stay', () => {
  const table = new SyscallTable()
  for (let i = 0; i < 300; i++) table.add(9, i * 4096, 4096)
  const part = table.bytes(290, 292)
  new DataView(part.buffer, part.byteOffset).setBigInt64(0, -12n, true)
  new DataView(part.buffer, part.byteOffset).setBigInt64(entryBytes, 0x7fff_1234_5000n, true)
  expect([table.result(289), table.result(290), table.result(291)]).toEqual([9, -12, 0x7fff_1234_5000])
  expect(table.entry(290)).toEqual({ number: 9, args: [290 * 4096, 4096, 0, 0, 0, 0] })
  expect([table.number(291), table.first(291)]).toEqual([9, 291 * 4096])
})
