import { createHash } from 'node:crypto'
import { parseFirecrackerVersion } from 'varve'
import { describe, expect, test } from 'vitest'
import { buildMicroGuest } from './build-micro-guest.js'
import {
  firecrackerBootPages,
  firecrackerLoadPages,
  firstUsablePage,
  microGuestOwnPages,
  microMemoryMap,
} from './memory-map.js'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe('the micro guest as a file', () => {
  test('is the same at each build', () => {
    expect(sha256(buildMicroGuest())).toBe(sha256(buildMicroGuest()))
  })

  test('is an x86-64 executable with one segment that fills its code pages', () => {
    const file = Buffer.from(buildMicroGuest())
    const address = BigInt(microMemoryMap.code.start * 4096)
    expect(file.subarray(0, 7).toString('latin1')).toBe('\x7fELF\x02\x01\x01')
    expect([file.readUInt16LE(16), file.readUInt16LE(18)]).toEqual([2, 62])
    expect(file.readBigUInt64LE(24)).toBe(address)
    const programHeaders = Number(file.readBigUInt64LE(32))
    expect([file.readUInt16LE(54), file.readUInt16LE(56)]).toEqual([56, 1])
    const header = file.subarray(programHeaders, programHeaders + 56)
    expect(header.readUInt32LE(0)).toBe(1)
    const [offset, virtual, physical, fileSize, memorySize] = [8, 16, 24, 32, 40].map((at) =>
      header.readBigUInt64LE(at),
    )
    expect([virtual, physical]).toEqual([address, address])
    expect(fileSize).toBe(BigInt(microMemoryMap.code.count * 4096))
    expect(memorySize).toBe(fileSize)
    expect(Number(offset) + Number(fileSize)).toBe(file.length)
    // cli; cld
    expect([...file.subarray(Number(offset), Number(offset) + 2)]).toEqual([0xfa, 0xfc])
  })
})

describe('memory map', () => {
  test('areas follow each other and end below the first page for commands', () => {
    let next = 256
    for (const { start, count } of Object.values(microMemoryMap)) {
      expect(start).toBe(next)
      next = start + count
    }
    expect(next).toBeLessThanOrEqual(firstUsablePage)
    expect(Math.max(...firecrackerBootPages(parseFirecrackerVersion('1.16.1')))).toBeLessThan(256)
  })

  test.each([
    ['1.10.1', [223]],
    ['1.13.2', [223]],
    ['1.14.0', [222, 223]],
    ['1.16.1', [222, 223]],
    ['1.17.0', [222, 223]],
    ['2.0.0', [222, 223]],
  ])('Firecracker %s writes pages %j at boot, and again when it loads', (text, pages) => {
    const version = parseFirecrackerVersion(text)
    expect(firecrackerLoadPages(version)).toEqual(pages)
    expect(firecrackerBootPages(version)).toEqual([0, 7, 9, 10, 11, 32, 159, 160, ...pages, 224])
  })

  test('one page table for each GiB of address space, at most 64', () => {
    expect(microGuestOwnPages(32 * 2 ** 20)).toEqual({ start: 256, count: 9 })
    expect(microGuestOwnPages(2 ** 30)).toEqual({ start: 256, count: 9 })
    expect(microGuestOwnPages(2 ** 30 + 4096)).toEqual({ start: 256, count: 10 })
    expect(microGuestOwnPages(5 * 2 ** 30)).toEqual({ start: 256, count: 13 })
    expect(microGuestOwnPages(2 ** 40)).toEqual({ start: 256, count: 72 })
  })
})
