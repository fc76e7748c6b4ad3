import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Descriptor, Digest } from '../content/descriptors.js'
import { annotations, mediaTypes } from '../content/descriptors.js'
import { isVarveError } from '../errors.js'
import { manifestFromJson, manifestToJson, type SnapshotManifest, storedPagesOf } from './manifest.js'
import { indexFromJson, indexToJson, type ReferenceIndex } from './reference-index.js'
import { snapshotConfigFromJson, snapshotConfigToJson } from './snapshot-config.js'
import type { SnapshotConfig } from './snapshot-types.js'
import { blockBytes, fileHeader, readHeader, readSparseMap, sparseMap, type TarEntry } from './tar-format.js'

const hex = (length: number) =>
  fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`)).filter((text) => !/^0*$/.test(text))
const digest = hex(64).map((text) => `sha256:${text}` as Digest)
const time = fc
  .date({ min: new Date('2000-01-01'), max: new Date('2099-01-01'), noInvalidDate: true })
  .map((date) => date.toISOString())
const size = fc.integer({ min: 0, max: 2 ** 50 })
const described = (mediaType: string, notes?: Readonly<Record<string, string>>): fc.Arbitrary<Descriptor> =>
  fc.record({
    mediaType: fc.constant(mediaType),
    digest,
    size,
    ...(notes === undefined ? {} : { annotations: fc.constant(notes) }),
  })

const manifest: fc.Arbitrary<SnapshotManifest> = fc.record({
  id: hex(32),
  createdAt: time,
  config: described(mediaTypes.config),
  layers: fc.array(described(mediaTypes.layer, { [annotations.storedPages]: '0' }), {
    minLength: 1,
    maxLength: 4,
  }),
  extentMap: described(mediaTypes.extentMap),
  state: described(mediaTypes.state),
  disks: fc.array(described(mediaTypes.disk, { [annotations.drive]: 'root' }), { maxLength: 2 }),
  workingSets: fc.array(described(mediaTypes.workingSet, { [annotations.name]: 'hot' }), { maxLength: 2 }),
  others: fc.array(described('text/plain'), { maxLength: 2 }),
})

const config: fc.Arbitrary<SnapshotConfig> = fc.record({
  id: hex(32),
  parent: fc.option(hex(32)),
  createdAt: time,
  kind: fc.constantFrom('full' as const, 'diff' as const),
  memoryPages: fc.integer({ min: 1, max: 2 ** 32 - 2 }),
  firecracker: fc.constant({ version: '1.12.1' }),
  host: fc.constant({ cpu: 'a cpu', kernel: '6.1.0', arch: 'x86_64', pageSizeBytes: 4096 }),
  machine: fc.dictionary(
    fc.string({ maxLength: 8 }).filter((key) => key !== '__proto__'),
    fc.integer(),
  ),
  disks: fc.array(
    fc.record({
      drive: fc.constantFrom('root', 'data'),
      file: fc.constant('disk-root'),
      readOnly: fc.boolean(),
      sizeBytes: size,
    }),
    { maxLength: 3 },
  ),
})

const index: fc.Arbitrary<ReferenceIndex> = fc
  .uniqueArray(fc.record({ id: hex(32), parent: fc.option(hex(32)), createdAt: time, digest, size }), {
    selector: ({ id }) => id,
    maxLength: 5,
  })
  .map((entries) => ({
    foreign: [{ mediaType: 'text/plain', digest: `sha256:${'1'.repeat(64)}`, size: 1 }],
    snapshots: entries.map(({ id, parent, createdAt, ...blob }, i) => ({
      id,
      parent,
      createdAt,
      tags: Array.from({ length: i % 3 }, (_, tag) => `tag-${i}-${tag}`),
      manifest: { mediaType: mediaTypes.manifest, ...blob },
    })),
  }))

interface Kind {
  readonly name: string
  readonly bytes: fc.Arbitrary<Buffer>
  readonly read: (bytes: Buffer) => unknown
  readonly write: (value: never) => Buffer
}

const kinds: readonly Kind[] = [
  {
    name: 'manifest',
    bytes: manifest.map(manifestToJson),
    read: (bytes) => {
      const read = manifestFromJson(bytes, 'a file')
      for (const layer of read.layers) storedPagesOf(layer, 'a file')
      return read
    },
    write: manifestToJson,
  },
  {
    name: 'config',
    bytes: config.map(snapshotConfigToJson),
    read: (bytes) => snapshotConfigFromJson(bytes, 'a file'),
    write: snapshotConfigToJson,
  },
  {
    name: 'index',
    bytes: index.map(indexToJson),
    read: (bytes) => indexFromJson(bytes, 'a file'),
    write: indexToJson,
  },
]

/** Read, or refused with a code of ours that names the file: nothing else. */
function readOrRefused(read: () => unknown): unknown {
  try {
    return read()
  } catch (error) {
    if (!isVarveError(error)) throw error
    expect(['FORMAT_INVALID', 'FORMAT_UNSUPPORTED', 'CHECKSUM_MISMATCH']).toContain(error.code)
    expect(error.message).toContain('a file')
    return undefined
  }
}

/** The value with one of its parts, whichever `pick` falls on, replaced. */
function withPart(value: unknown, pick: number, part: unknown): unknown {
  let left = pick
  const walk = (item: unknown): unknown => {
    if (left-- === 0) return part
    if (Array.isArray(item)) return item.map(walk)
    if (typeof item !== 'object' || item === null) return item
    return Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, walk(inner)]))
  }
  return walk(value)
}

const oddParts = [null, true, -1, 1.5, 2 ** 60, '', 'x'.repeat(5000), '../../etc/passwd', [], {}, [[]]]

describe.each(kinds)('a $name', ({ bytes, read, write }) => {
  test('says the same after it was written and read', () => {
    fc.assert(
      fc.property(bytes, (written) => {
        // Not the same bytes: an index puts its oldest entry first.
        const again = write(read(written) as never)
        expect(again.length).toBe(written.length)
        expect(read(again)).toEqual(read(written))
      }),
      { numRuns: 100 },
    )
  })

  test('with any part replaced is read or refused', () => {
    let refused = 0
    fc.assert(
      fc.property(bytes, fc.nat(60), fc.constantFrom(...oddParts), (written, pick, part) => {
        const changed = Buffer.from(JSON.stringify(withPart(JSON.parse(written.toString()), pick, part)))
        if (readOrRefused(() => read(changed)) === undefined) refused++
      }),
      { numRuns: 1500 },
    )
    expect(refused).toBeGreaterThan(300)
  })

  test('with any bytes replaced, or its end cut off, is read or refused', () => {
    fc.assert(
      fc.property(
        bytes,
        fc.nat(),
        fc.uint8Array({ maxLength: 8 }),
        fc.boolean(),
        (written, at, other, cut) => {
          const changed = Buffer.from(written)
          const place = at % changed.length
          changed.set(other.subarray(0, changed.length - place), place)
          readOrRefused(() => read(cut ? changed.subarray(0, place) : changed))
        },
      ),
      { numRuns: 1500 },
    )
  })

  test('nested too deeply, or endless, is refused', () => {
    for (const text of ['['.repeat(100_000), `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`, '', '\0'])
      expect(readOrRefused(() => read(Buffer.from(text)))).toBeUndefined()
  })
})

const reader = (bytes: Buffer) => {
  let at = 0
  return async (length: number) => {
    const part = bytes.subarray(at, at + length)
    at += length
    return part
  }
}

async function archiveHead(bytes: Buffer): Promise<TarEntry | undefined> {
  const read = reader(bytes)
  const found = await readHeader(read, 'a file', 0)
  if (found?.entry.isSparse) await readSparseMap(read, found.entry, 'a file')
  return found?.entry
}

const extents = fc
  .uniqueArray(fc.integer({ min: 0, max: 2 ** 40 }), { minLength: 2, maxLength: 40 })
  .map((edges) => edges.sort((a, b) => a - b))
  .map((edges) =>
    Array.from({ length: edges.length >> 1 }, (_, i) => ({
      startBytes: edges[2 * i] as number,
      endBytes: edges[2 * i + 1] as number,
    })),
  )

describe('the head of a file in an archive', () => {
  test('says the same after it was written and read', async () => {
    await fc.assert(
      fc.asyncProperty(extents, fc.nat(2 ** 20), fc.boolean(), async (list, more, isSparse) => {
        const sizeBytes = (list.at(-1)?.endBytes ?? 0) + more
        const map = sparseMap(list, sizeBytes)
        const dataBytes = list.reduce((sum, it) => sum + it.endBytes - it.startBytes, 0)
        const storedBytes = isSparse ? map.length + dataBytes : sizeBytes
        const head = fileHeader('blobs/sha256/ab', sizeBytes, isSparse ? { storedBytes } : null)
        const read = reader(Buffer.concat([head, map]))
        const found = await readHeader(read, 'a file', 0)
        expect(found).toEqual({
          entry: { name: 'blobs/sha256/ab', kind: 'file', sizeBytes, storedBytes, isSparse },
          headerBytes: head.length,
        })
        if (!isSparse || found === undefined) return
        const back = await readSparseMap(read, found.entry, 'a file')
        expect(back.extents.filter((it) => it.endBytes > it.startBytes)).toEqual(list)
        expect(back.mapBytes).toBe(map.length)
      }),
      { numRuns: 200 },
    )
  })

  test('with any bytes replaced, or its end cut off, is read or refused', async () => {
    const map = sparseMap([{ startBytes: 0, endBytes: 4096 }], 65_536)
    const head = fileHeader('blobs/sha256/ab', 65_536, { storedBytes: map.length + 4096 })
    const whole = Buffer.concat([head, map])
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 1),
        fc.uint8Array({ minLength: 1, maxLength: 12 }),
        fc.boolean(),
        fc.boolean(),
        async (at, other, cut, mend) => {
          const changed = Buffer.from(whole)
          changed.set(other.subarray(0, changed.length - at), at)
          if (mend)
            for (let block = 0; block + blockBytes <= head.length; block += blockBytes)
              mendChecksum(changed, block)
          const bytes = cut ? changed.subarray(0, at) : changed
          const result = await archiveHead(bytes).catch((error: unknown) => error)
          if (result instanceof Error)
            readOrRefused(() => {
              throw result
            })
        },
      ),
      { numRuns: 3000 },
    )
  })
})

/** As an attacker would: the checksum of a header is no secret. */
function mendChecksum(bytes: Buffer, at: number): void {
  const header = bytes.subarray(at, at + blockBytes)
  header.fill(' ', 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
}
