import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { writeCrc } from './crc64.js'
import { goldenStatePaths } from './made-files/seeds.js'
import { pathStrings } from './path-strings.js'
import { readStateFile } from './read-state-file.js'

const golden = fileURLToPath(new URL('../../../../../test/golden/firecracker', import.meta.url))
const paths = goldenStatePaths(golden)
const bincode = paths.filter((path) => !path.includes('1.16.1'))

/** The file with these bytes put in behind the region list or further back, and a right CRC. */
function withBytes(path: string, bytes: Buffer, behind: number): { file: Buffer; offset: number } {
  const file = readFileSync(path)
  const at = Math.min(readStateFile(file).regionList.end + 64 + behind, file.length - 8)
  const changed = Buffer.concat([file.subarray(0, at), bytes, file.subarray(at)])
  writeCrc(changed)
  return { file: changed, offset: at }
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text)
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([count, bytes])
}

describe('paths in a state file', () => {
  test.each(bincode.map((path) => path.slice(golden.length + 1)))('%s has none', (name) => {
    expect(pathStrings(readFileSync(join(golden, name)))).toEqual([])
  })

  test.each(['/a', '/etc/shadow', '../up', 'a/b', '/ä/π', `/${'x'.repeat(4094)}`])(
    'finds %s wherever it stands, in every version',
    (path) => {
      for (const name of bincode)
        for (const behind of [0, 1, 2, 3, 1001, 1e9]) {
          const { file, offset } = withBytes(name, string(path), behind)
          expect(pathStrings(file)).toContainEqual({ path, offset: offset + 8 })
        }
    },
  )

  test.each(['disk-rootfs', 'tap0', '/', '/with\0zero', `/${'x'.repeat(4095)}`])(
    'leaves out what is no path to elsewhere, %j',
    (text) => {
      const { file } = withBytes(bincode[0] as string, string(text), 0)
      expect(pathStrings(file)).toEqual([])
    },
  )

  test('cannot be told where texts have no count before them, and of versions that are not known', () => {
    const bitcode = readFileSync(join(golden, '1.16.1/small/state'))
    expect(pathStrings(bitcode)).toBeUndefined()
    const later = readFileSync(bincode[0] as string)
    // Of its version, 9.0.0 is the first in bitcode.
    later.write('9', 16)
    writeCrc(later)
    expect(pathStrings(later)).toBeUndefined()
  })

  test('are looked for in the time that reading takes, whatever the bytes are', () => {
    const counts = Buffer.alloc(4_000_000)
    for (let at = 0; at + 8 < counts.length; at += 8) counts.writeUInt32LE(4095, at)
    const { file } = withBytes(bincode[0] as string, counts, 0)
    const from = performance.now()
    expect(pathStrings(file)).toEqual([])
    expect(performance.now() - from).toBeLessThan(5000)
  })
})
