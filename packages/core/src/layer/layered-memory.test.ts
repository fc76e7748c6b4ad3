import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pagesOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { observeMutations } from '../sys/mutations.js'
import { compareImages } from './compare-images.js'
import { type ExtentMap, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import type { Image } from './image-reader.js'
import { readLayeredMemory, writeLayeredMemory } from './layered-memory.js'

let directory: string
let image: Image
let statePath: string
const at = (name: string) => join(directory, name)

function mapOf(runs: readonly (readonly [count: number, source: number, page: number])[]): ExtentMap {
  const builder = new ExtentMapBuilder(4)
  for (const run of runs) builder.add(...run)
  return builder.finish()
}

/** A file whose page p is filled with `first` + p. */
function layer(name: string, pages: number, first: number) {
  writeFileSync(
    at(name),
    Buffer.concat(Array.from({ length: pages }, (_, p) => Buffer.alloc(pageSizeBytes, first + p))),
  )
  return { path: at(name), storedPages: pages }
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-layered-'))
  statePath = at('the-state')
  writeFileSync(statePath, 'state')
  image = {
    files: [layer('base', 20, 1), layer('unused', 3, 90), layer('one', 9, 40), layer('two', 5, 60)],
    map: mapOf([
      [5, 0, 2],
      [3, 2, 1],
      [4, zeroSource, 0],
      [6, 0, 12],
      [40, zeroSource, 0],
      [5, 3, 0],
      [2, 2, 7],
    ]),
  }
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('a layered memory file', () => {
  test('with what lies beside it is the image that it was made of', async () => {
    await writeLayeredMemory({ ...image, statePath }, at('out'))
    expect(readdirSync(at('out')).sort()).toEqual(['layer-1', 'layer-2', 'memory', 'state'])
    expect(readFileSync(at('out/state'), 'utf8')).toBe('state')
    const found = await readLayeredMemory(at('out/memory'))
    expect([...pagesOf(await compareImages(found, image))]).toEqual([])
    // Short zeros are holes of the file, long ones need none.
    expect([...found.map.sources]).toEqual([0, 1, 0, zeroSource, 2, 1])
    const plain = readFileSync(at('out/memory'))
    const own = (page: number) => plain[page * pageSizeBytes]
    expect([0, 4, 5, 8, 12, 17, 18, 64].map(own)).toEqual([3, 7, 0, 0, 13, 18, 0, 0])
  })

  test('has no file in common with what it was made of: writing to it changes no layer', async () => {
    await writeLayeredMemory({ ...image, statePath }, at('out'))
    for (const name of readdirSync(at('out'))) {
      expect(statSync(at(`out/${name}`)).nlink, name).toBe(1)
      truncateSync(at(`out/${name}`), 1)
    }
    expect(readFileSync(statePath, 'utf8')).toBe('state')
    for (const { path, storedPages } of image.files)
      expect(statSync(path).size).toBeGreaterThanOrEqual(storedPages * pageSizeBytes)
  })

  test('is on disk when it is done: each file was synced after it was last written to, and the directory last', async () => {
    const unsynced = new Set<string>()
    let last = ''
    observeMutations(({ kind, path }) => {
      if (['create', 'write', 'truncate', 'clone', 'copy'].includes(kind)) unsynced.add(path)
      if (kind === 'fsync') unsynced.delete(path)
      last = `${kind} ${path}`
    })
    try {
      await writeLayeredMemory({ ...image, statePath }, at('out'))
    } finally {
      observeMutations(undefined)
    }
    expect([...unsynced]).toEqual([])
    expect(last).toBe(`fsync ${at('out')}`)
  })

  test('is not made over something, and is all or nothing', async () => {
    mkdirSync(at('there'))
    await expect(writeLayeredMemory({ ...image, statePath }, at('there'))).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    await expect(writeLayeredMemory({ ...image, statePath: at('none') }, at('out'))).rejects.toThrow('none')
    expect(readdirSync(directory)).not.toContain('out')
  })

  test('reaches no file but those beside it', async () => {
    await writeLayeredMemory({ ...image, statePath }, at('out'))
    const memory = readFileSync(at('out/memory'))
    const renamed = (name: string) => {
      const bytes = Buffer.from(memory)
      bytes.write(name, bytes.indexOf('layer-1', image.map.pages * pageSizeBytes), 'latin1')
      bytes.writeUInt32LE(crc32(bytes.subarray(image.map.pages * pageSizeBytes, -4)), bytes.length - 4)
      writeFileSync(at('out/memory'), bytes)
    }
    for (const name of ['../base', '/etc/ab', '.hidden', 'layer\0b', 'a/layer']) {
      renamed(name.padEnd(7, 'x').slice(0, 7))
      await expect(readLayeredMemory(at('out/memory'))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    }
    renamed('layer-2')
    await expect(readLayeredMemory(at('out/memory'))).rejects.toThrow('named twice')
    renamed('linked1')
    await expect(readLayeredMemory(at('out/memory'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    symlinkSync(at('base'), at('out/linked1'))
    await expect(readLayeredMemory(at('out/memory'))).rejects.toMatchObject({ code: 'PATH_INVALID' })
    symlinkSync(at('out/memory'), at('to-memory'))
    await expect(readLayeredMemory(at('to-memory'))).rejects.toMatchObject({ code: 'PATH_INVALID' })
  })

  test('of a file that became shorter is refused', async () => {
    await writeLayeredMemory({ ...image, statePath }, at('out'))
    truncateSync(at('out/layer-2'), 4 * pageSizeBytes)
    await expect(readLayeredMemory(at('out/memory'))).rejects.toThrow('ends behind the 4 pages of its file')
  })

  test('of any other bytes is read or refused as what it is, with the place', async () => {
    await writeLayeredMemory({ ...image, statePath }, at('out'))
    const memory = readFileSync(at('out/memory'))
    const footerAt = image.map.pages * pageSizeBytes
    const footer = memory.subarray(footerAt)
    const change = fc.record({ at: fc.nat(footer.length - 1), byte: fc.nat(255) })
    const changes = fc.array(change, { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(changes, fc.boolean(), fc.nat(3), async (bytesToChange, mendChecksum, cut) => {
        const changed = Buffer.from(footer)
        for (const { at: where, byte } of bytesToChange) changed[where] = byte
        if (mendChecksum) changed.writeUInt32LE(crc32(changed.subarray(0, -4)), changed.length - 4)
        const whole = Buffer.concat([memory.subarray(0, footerAt), changed])
        writeFileSync(at('out/memory'), whole.subarray(0, whole.length - cut))
        try {
          const { map, files } = await readLayeredMemory(at('out/memory'))
          for (const [run, source] of map.sources.entries())
            if (source !== zeroSource)
              expect((map.storedStarts[run] as number) + (map.counts[run] as number)).toBeLessThanOrEqual(
                files[source]?.storedPages ?? 0,
              )
        } catch (error) {
          if (!isVarveError(error)) throw error
          expect(['FORMAT_INVALID', 'FORMAT_UNSUPPORTED', 'CHECKSUM_MISMATCH', 'NOT_FOUND']).toContain(
            error.code,
          )
        }
      }),
      { numRuns: 300 },
    )
  })

  test('that says of itself more than there is takes no memory for it', async () => {
    await writeLayeredMemory({ ...image, statePath }, at('out'))
    const memory = readFileSync(at('out/memory'))
    const end = memory.length - 64
    for (const [where, value] of [
      [16, 2n ** 32n - 2n],
      [32, 2n ** 22n],
      [32, 60n],
      [24, 1023n],
    ] as const) {
      const bytes = Buffer.from(memory)
      if (where === 24) bytes.writeUInt32LE(Number(value), end + where)
      else bytes.writeBigUInt64LE(value, end + where)
      writeFileSync(at('out/memory'), bytes)
      await expect(readLayeredMemory(at('out/memory'))).rejects.toSatisfy((error) => isVarveError(error))
    }
    writeFileSync(at('out/memory'), 'VARVEMEM')
    await expect(readLayeredMemory(at('out/memory'))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })
})
