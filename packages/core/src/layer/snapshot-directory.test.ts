import {
  chmodSync,
  closeSync,
  cpSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isVarveError } from '../errors.js'
import { pageRange } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import { compareImages } from './compare-images.js'
import { flatten } from './flatten.js'
import { openSnapshotChain } from './snapshot-chain.js'
import {
  createSnapshotDirectory,
  readSnapshotDirectory,
  readSnapshotManifest,
  sealSnapshotDirectory,
  writeSnapshotManifest,
} from './snapshot-directory.js'
import { manifestFromJson, manifestToJson, type SnapshotManifest } from './snapshot-manifest.js'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'varve-snapshot-'))
})
afterEach(() => rmSync(root, { recursive: true }))

type Content = readonly (number | undefined)[]

/** Does what a capture does; the two files come from here instead of Firecracker. */
async function snapshot(name: string, content: Content, parent?: string, kind?: 'full' | 'diff') {
  const paths = await createSnapshotDirectory(join(root, name))
  writeFileSync(paths.statePath, `state of ${name}`)
  const fd = openSync(paths.memoryPath, 'wx', 0o600)
  ftruncateSync(fd, content.length * pageSizeBytes)
  for (const [page, byte] of content.entries())
    if (byte !== undefined)
      writeSync(fd, Buffer.alloc(pageSizeBytes, byte), 0, pageSizeBytes, page * pageSizeBytes)
  closeSync(fd)
  return sealSnapshotDirectory(paths.directory, {
    kind: kind ?? (parent === undefined ? 'full' : 'diff'),
    parent: parent === undefined ? undefined : join(root, parent),
    firecrackerVersion: '1.12.1',
    machine: { cpus: 1 },
    now: () => new Date(0),
  })
}

const family = async () => {
  await snapshot('base', [1, 2, 3, 0])
  await snapshot('one', [undefined, 4, 0, undefined], 'base')
  return snapshot('two', [undefined, undefined, undefined, 5], 'one')
}

async function imageOf(directory: string): Promise<number[]> {
  const { map, layers } = await openSnapshotChain(directory)
  const flat = join(root, 'flat')
  await flatten(map, layers, flat)
  const bytes = readFileSync(flat)
  expect((await compareImages({ map, layers }, flat)).pages).toBe(0)
  rmSync(flat)
  return Array.from({ length: map.pages }, (_, page) => bytes.readUInt8((page + 1) * pageSizeBytes - 1))
}

describe('snapshot directory', () => {
  test('a chain of a base and two diffs composes, and is private', async () => {
    const top = await family()
    const chain = await openSnapshotChain(join(root, 'two'))
    expect(chain.snapshots.map(({ directory }) => directory)).toEqual(
      ['base', 'one', 'two'].map((name) => join(root, name)),
    )
    expect(readFileSync(chain.statePath, 'utf8')).toBe('state of two')
    expect(await imageOf(join(root, 'two'))).toEqual([1, 4, 0, 5])
    expect(await imageOf(join(root, 'one'))).toEqual([1, 4, 0, 0])
    expect(top.manifest).toMatchObject({
      kind: 'diff',
      parent: '../one',
      createdAt: '1970-01-01T00:00:00.000Z',
    })
    expect(statSync(top.directory).mode & 0o777).toBe(0o700)
    for (const name of readdirSync(top.directory))
      expect(statSync(join(top.directory, name)).mode & 0o777).toBe(0o600)
    expect(readdirSync(top.directory).sort()).toEqual(['memory', 'snapshot.json', 'state'])
  })

  test('what was sealed is what is read', async () => {
    const sealed = await snapshot('base', [1, 0, undefined])
    expect(await readSnapshotDirectory(join(root, 'base'))).toEqual(sealed)
    expect(sealed.manifest.machine).toEqual({ cpus: 1 })
    expect(sealed.manifest.id).toMatch(/^[0-9a-f]{32}$/)
  })

  test('the index counts: a copy with its holes filled is the same snapshot', async () => {
    await family()
    for (const name of ['base', 'one', 'two']) {
      const path = join(root, name, 'memory')
      const dense = readFileSync(path)
      rmSync(path)
      writeFileSync(path, dense, { mode: 0o600 })
    }
    expect(await imageOf(join(root, 'two'))).toEqual([1, 4, 0, 5])
  })

  test('a family that is moved together stays one', async () => {
    await family()
    cpSync(root, `${root}-copy`, { recursive: true })
    try {
      renameSync(join(root, 'base'), join(root, 'gone'))
      expect(await imageOf(join(`${root}-copy`, 'two'))).toEqual([1, 4, 0, 5])
      await expect(openSnapshotChain(join(root, 'two'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    } finally {
      rmSync(`${root}-copy`, { recursive: true })
    }
  })

  test('a parent elsewhere is named by its absolute path', async () => {
    await snapshot('base', [1, 2])
    mkdirSync(join(root, 'deep'))
    const child = await snapshot('deep/child', [undefined, 7], 'base')
    expect(child.manifest.parent).toBe(join(root, 'base'))
    expect(await imageOf(child.directory)).toEqual([1, 7])
  })

  test('a diff without a parent is complete: the rest is zero', async () => {
    await snapshot('base', [1, undefined, 0, 2], undefined, 'diff')
    expect(await imageOf(join(root, 'base'))).toEqual([1, 0, 0, 2])
  })

  test('a directory is a snapshot only when sealed, and is sealed once', async () => {
    const paths = await createSnapshotDirectory(join(root, 'new'))
    const seal = () => sealSnapshotDirectory(paths.directory, { kind: 'full', firecrackerVersion: '1.12.1' })
    await expect(seal()).rejects.toMatchObject({ code: 'NOT_FOUND' })
    writeFileSync(paths.statePath, '')
    writeFileSync(paths.memoryPath, Buffer.alloc(pageSizeBytes))
    chmodSync(paths.memoryPath, 0o644)
    await expect(readSnapshotManifest(paths.directory)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const { manifest } = await seal()
    expect(statSync(paths.memoryPath).mode & 0o777).toBe(0o600)
    await expect(seal()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect((await readSnapshotManifest(paths.directory)).id).toBe(manifest.id)
    await expect(createSnapshotDirectory(paths.directory)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  })

  test('refuses layers that do not belong together', async () => {
    await family()
    await expect(snapshot('small', [1], 'base')).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
    const open = () => openSnapshotChain(join(root, 'two'))
    truncateSync(join(root, 'base', 'memory'), 3 * pageSizeBytes)
    await expect(open()).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
    rmSync(join(root, 'base'), { recursive: true })
    await snapshot('base', [1, 2, 3, 0])
    await expect(open()).rejects.toMatchObject({ code: 'IMAGE_MISMATCH' })
  })

  test('refuses a cycle, links in place of files, and parents that are no directory', async () => {
    const { manifest } = await family()
    const rewrite = async (name: string, change: Partial<SnapshotManifest>) => {
      const old = await readSnapshotManifest(join(root, name))
      rmSync(join(root, name, 'snapshot.json'))
      await writeSnapshotManifest(join(root, name), { ...old, ...change })
    }
    await rewrite('base', { kind: 'diff', parent: '../two', parentId: manifest.id })
    await expect(openSnapshotChain(join(root, 'two'))).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    await rewrite('two', { parent: '../one/memory' })
    await expect(openSnapshotChain(join(root, 'two'))).rejects.toMatchObject({ code: 'PATH_INVALID' })
    symlinkSync(join(root, 'one'), join(root, 'alias'))
    await rewrite('two', { parent: '../alias' })
    await expect(openSnapshotChain(join(root, 'two'))).rejects.toMatchObject({ code: 'PATH_INVALID' })
    for (const name of ['memory', 'state', 'snapshot.json']) {
      renameSync(join(root, 'one', name), join(root, 'moved'))
      symlinkSync(join(root, 'moved'), join(root, 'one', name))
      await expect(openSnapshotChain(join(root, 'one'))).rejects.toMatchObject({ code: 'PATH_INVALID' })
      rmSync(join(root, 'one', name))
      renameSync(join(root, 'moved'), join(root, 'one', name))
    }
  })

  test('stops when told to', async () => {
    await family()
    const work = openSnapshotChain(join(root, 'two'), { signal: AbortSignal.abort() })
    await expect(work).rejects.toMatchObject({ code: 'INTERRUPTED' })
  })
})

describe('manifest', () => {
  const good: SnapshotManifest = {
    id: 'a'.repeat(32),
    kind: 'diff',
    parent: '../base',
    parentId: 'b'.repeat(32),
    createdAt: '2026-01-31T12:00:00.000Z',
    firecrackerVersion: '1.12.1',
    memoryPages: 100,
    data: pageRange(3, 4),
    zero: pageRange(7, 2),
    machine: { disks: ['/a'] },
  }
  const json = JSON.parse(manifestToJson(good)) as Record<string, unknown>
  const read = (value: unknown) => manifestFromJson(JSON.stringify(value), 'it')

  test('round trip, unknown fields ignored', () => {
    expect(read({ ...json, later: [1] })).toEqual(good)
    expect(json).toMatchObject({
      format: 'varve-snapshot-directory',
      version: 0,
      pages: { data: [3, 4], zero: [7, 2] },
    })
  })

  test('a newer version is named as such', () => {
    expect(() => read({ ...json, version: 1 })).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
    )
  })

  const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) })
  const bad: readonly (readonly [string, unknown])[] = [
    ['format', 'other'],
    ['version', -1],
    ['version', '0'],
    ['id', 'A'.repeat(32)],
    ['id', 'a'.repeat(33)],
    ['kind', 'half'],
    ['kind', 'full'],
    ['parent', null],
    ['parentId', null],
    ['parent', ''],
    ['parent', '.'],
    ['parent', 'a/../../b'],
    ['parent', '../base/'],
    ['parent', '/etc//x'],
    ['parent', 'a\0b'],
    ['parent', 'x'.repeat(5000)],
    ['parent', ['../base']],
    ['createdAt', 'yesterday'],
    ['createdAt', '2026-13-31T12:00:00.000Z'],
    ['firecrackerVersion', ''],
    ['firecrackerVersion', '1.12\n'],
    ['memoryPages', 0],
    ['memoryPages', 1.5],
    ['memoryPages', 2 ** 32],
    ['memoryPages', 8],
    ['pages', []],
    ['pages', { data: [3, 4] }],
    ['pages', { data: [3, 4], zero: [6, 1] }],
    ['pages', { data: [3, 4, 7, 1], zero: [] }],
    ['machine', []],
    ['machine', deep(40)],
    ['machine', { big: 'x'.repeat(2 ** 20) }],
  ]
  test.each(bad)('refuses %s %j', (field, value) => {
    expect(() => read({ ...json, [field]: value })).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID' }),
    )
  })

  test('a full snapshot names every page', () => {
    const full = { ...json, kind: 'full', parent: null, parentId: null }
    expect(() => read(full)).toThrow('names 6 of its 100 pages')
    expect(read({ ...full, pages: { data: [0, 50], zero: [50, 50] } }).data.pages).toBe(50)
  })

  test('whatever a file says, the answer is a manifest or FORMAT_INVALID', () => {
    const text = manifestToJson(good)
    const mutated = fc
      .tuple(fc.nat(text.length - 1), fc.nat(8), fc.string({ maxLength: 8 }))
      .map(([at, drop, insert]) => text.slice(0, at) + insert + text.slice(at + drop))
    const field = fc.tuple(fc.constantFrom(...Object.keys(json)), fc.jsonValue())
    const swapped = field.map(([name, value]) => JSON.stringify({ ...json, [name]: value }))
    fc.assert(
      fc.property(fc.oneof(mutated, swapped, fc.json(), fc.string()), (hostile) => {
        try {
          const manifest = manifestFromJson(hostile, 'it')
          expect(manifestFromJson(manifestToJson(manifest), 'again')).toEqual(manifest)
        } catch (error) {
          expect(isVarveError(error, 'FORMAT_INVALID') || isVarveError(error, 'FORMAT_UNSUPPORTED')).toBe(
            true,
          )
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a file that is too large, or no text, is refused before it is parsed', async () => {
    const directory = join(root, 'hostile')
    mkdirSync(directory)
    const path = join(directory, 'snapshot.json')
    writeFileSync(path, '')
    truncateSync(path, 65 * 2 ** 20)
    await expect(readSnapshotManifest(directory)).rejects.toThrow('68157440 bytes')
    writeFileSync(path, Buffer.of(0x22, 0xff, 0x22))
    await expect(readSnapshotManifest(directory)).rejects.toThrow('not UTF-8')
    writeFileSync(path, '')
    await expect(readSnapshotManifest(directory)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test('a manifest that could not be read again is not written', () => {
    expect(() => manifestToJson({ ...good, memoryPages: 5 })).toThrow('pages.data')
    expect(() => manifestToJson({ ...good, id: 'x' })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
  })
})
