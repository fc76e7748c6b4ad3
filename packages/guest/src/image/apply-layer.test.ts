import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { applyLayer } from './apply-layer.js'
import { ContentSpool } from './content-spool.js'
import { ImageBudget } from './image-limits.js'
import { type DirectoryNode, ImageTree } from './image-tree.js'
import { type MadeEntry, madeTar, paxRecord } from './made-images/made-tar.js'

let folder: string
let spool: ContentSpool
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-layers-'))
  mkdirSync(join(folder, 'spool'))
  spool = new ContentSpool(join(folder, 'spool'))
})
afterEach(() => rmSync(folder, { recursive: true }))

async function merged(
  layers: readonly (readonly MadeEntry[])[],
  budget = new ImageBudget(),
): Promise<ImageTree> {
  const tree = new ImageTree(budget)
  for (const layer of layers) {
    async function* bytes() {
      yield madeTar(layer)
    }
    await applyLayer(bytes(), { tree, spool, budget, signal: undefined })
  }
  return tree
}

/** Each path with what is there. */
function listing(tree: ImageTree): Record<string, string> {
  const found: Record<string, string> = {}
  const visit = (directory: DirectoryNode, path: string) => {
    for (const [name, { node }] of directory.entries) {
      const here = `${path}${name}`
      if (node.kind === 'file') found[here] = readFileSync(spool.pathOf(node.content), 'utf8')
      else if (node.kind === 'symlink') found[here] = `→ ${node.target}`
      else found[here] = node.kind
      if (node.kind === 'directory') visit(node, `${here}/`)
    }
  }
  visit(tree.root, '')
  return found
}

const file = (name: string, content = name): MadeEntry => ({ name, content })
const dir = (name: string): MadeEntry => ({ name, type: '5' })
const symlink = (name: string, linkName: string): MadeEntry => ({ name, type: '2', linkName })

describe('layers', () => {
  test('whiteouts take away what is below, never what their own layer brings', async () => {
    const below = [dir('a'), file('a/1'), file('a/2'), dir('a/deep'), file('a/deep/x'), file('b')]
    expect(
      listing(await merged([below, [file('.wh.b', ''), file('a/.wh.1', ''), file('a/.wh.none', '')]])),
    ).toEqual({
      a: 'directory',
      'a/2': 'a/2',
      'a/deep': 'directory',
      'a/deep/x': 'a/deep/x',
    })
    expect(listing(await merged([below, [file('b', 'new'), file('.wh.b', '')]]))).toMatchObject({ b: 'new' })
    expect(
      listing(await merged([below, [file('a/new'), file('a/deep/y'), file('a/.wh..wh..opq', '')]])),
    ).toEqual({ a: 'directory', 'a/new': 'a/new', 'a/deep': 'directory', 'a/deep/y': 'a/deep/y', b: 'b' })
    expect(listing(await merged([below, [file('.wh.a', ''), file('a/again')]]))).toEqual({
      a: 'directory',
      'a/again': 'a/again',
      b: 'b',
    })
    expect(listing(await merged([below, [file('a/again'), file('.wh.a', '')]]))).toMatchObject({
      'a/again': 'a/again',
    })
    expect(listing(await merged([below, [file('.wh..wh.plnk', '')]]))).toEqual(listing(await merged([below])))
  })

  test('a later layer replaces a file by a directory and the other way round; a directory keeps its entries', async () => {
    const tree = await merged([
      [dir('a'), file('a/1'), file('b')],
      [{ ...dir('a'), mode: 0o700, uid: 7 }, dir('b'), file('b/c')],
      [file('b', 'a file again')],
    ])
    expect(listing(tree)).toEqual({ a: 'directory', 'a/1': 'a/1', b: 'a file again' })
    expect(tree.find('a')).toMatchObject({ attributes: { mode: 0o700, uid: 7 } })
  })

  test('a path leads through links of the image, within the image', async () => {
    const tree = await merged([
      [
        dir('usr'),
        dir('usr/bin'),
        symlink('bin', 'usr/bin'),
        symlink('up', '../../../usr'),
        symlink('abs', '/usr'),
      ],
      [file('bin/sh'), file('up/x'), file('abs/y'), file('bin/.wh.none', '')],
      [file('bin/.wh.sh', '')],
    ])
    expect(Object.keys(listing(tree)).sort()).toEqual([
      'abs',
      'bin',
      'up',
      'usr',
      'usr/bin',
      'usr/x',
      'usr/y',
    ])
  })

  test('hard links are names of one node, across layers too, and outlive the first name', async () => {
    const tree = await merged([
      [file('a', 'one'), { name: 'b', type: '1', linkName: 'a' }],
      [{ name: 'c', type: '1', linkName: './b' }, file('.wh.a', '')],
    ])
    expect(listing(tree)).toEqual({ b: 'one', c: 'one' })
    expect(tree.find('b')).toBe(tree.find('c'))
  })

  test('parents that an archive lacks are made', async () => {
    expect((await merged([[file('x/y/z')]])).find('x/y')).toMatchObject({
      attributes: { mode: 0o755, uid: 0, gid: 0 },
    })
  })
})

describe('hostile layers', () => {
  test.each([
    ['..', [file('../../evil')], 'PATH_INVALID'],
    ['.. within', [file('a/../../evil')], 'PATH_INVALID'],
    ['a whiteout of ..', [file('a/.wh...', '')], 'PATH_INVALID'],
    ['a whiteout of nothing', [file('.wh.', '')], 'PATH_INVALID'],
    ['a file as parent', [file('a'), file('a/b')], 'PATH_INVALID'],
    ['links in a circle', [symlink('a', 'b'), symlink('b', 'a'), file('a/x')], 'PATH_INVALID'],
    ['a hard link to what is not there', [{ name: 'a', type: '1', linkName: '/etc/passwd' }], 'PATH_INVALID'],
    ['a hard link to a directory', [dir('d'), { name: 'a', type: '1', linkName: 'd' }], 'PATH_INVALID'],
    [
      'a hard link out of the image',
      [{ name: 'a', type: '1', linkName: '../../etc/passwd' }],
      'PATH_INVALID',
    ],
    ['a file for the root', [file('./', 'x')], 'PATH_INVALID'],
    ['a name of 256 bytes', [{ ...file('a'), pax: { path: 'n'.repeat(256) } }], 'PATH_INVALID'],
    ['a path of 5,000 bytes', [{ ...file('a'), pax: { path: 'n/'.repeat(2500) } }], 'PATH_INVALID'],
    ['300 levels', [{ ...file('a'), pax: { path: 'n/'.repeat(300) } }], 'PATH_INVALID'],
    ['a NUL in a name', [{ ...file('a'), pax: { path: 'a\0b' } }], 'PATH_INVALID'],
    ['an owner below zero', [{ ...file('a'), pax: { uid: '-1' } }], 'FORMAT_INVALID'],
    ['an owner beyond 32 bits', [{ ...file('a'), pax: { gid: '4294967295' } }], 'FORMAT_INVALID'],
    ['a link to nothing', [symlink('a', '')], 'FORMAT_INVALID'],
    ['a device out of range', [{ name: 'a', type: '4', device: [4096, 0] }], 'FORMAT_INVALID'],
  ] as const)('%s is refused, and nothing is made outside', async (_, layer, code) => {
    await expect(merged([layer as readonly MadeEntry[]])).rejects.toMatchObject({ code })
    expect(readdirSync(folder)).toEqual(['spool'])
    expect(existsSync(join(folder, '../evil'))).toBe(false)
  })

  test('a link in one layer cannot lead the next one out of the image', async () => {
    const outside = join(folder, 'outside')
    mkdirSync(outside)
    const tree = await merged([[symlink('way', outside)], [file('way/evil')]])
    expect(readdirSync(outside)).toEqual([])
    expect(tree.find(`${outside.slice(1)}/evil`)).toMatchObject({ kind: 'file' })
  })

  test('too many entries, and holes without end, are refused', async () => {
    const many = Array.from({ length: 12 }, (_, i) => file(`f${i}`, ''))
    const budget = () => new ImageBudget({ maxBytes: 10_000_000, maxEntries: 10 })
    await expect(merged([many], budget())).rejects.toThrow(/more than 10 entries/)
    const sparse = (name: string): MadeEntry => ({
      name,
      content: '1\n0\n0\n'.padEnd(512, '\0'),
      pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9999999' },
    })
    await expect(merged([[sparse('a'), sparse('b')]], budget())).rejects.toThrow(/more than 10000000 bytes/)
  })

  /** A header whose records hold for all entries behind it. */
  const global = (...records: readonly [string, string][]): MadeEntry => ({
    name: 'g',
    type: 'g',
    content: Buffer.concat(records.map(([key, value]) => paxRecord(key, Buffer.from(value)))),
  })

  test('an entry counts each time it is written over: the spool keeps what it was', async () => {
    const again = Array.from({ length: 12 }, (_, i) => file('same', `${i}`))
    const budget = new ImageBudget({ maxBytes: 10_000_000, maxEntries: 10 })
    await expect(merged([again], budget)).rejects.toThrow(/more than 10 entries/)
    const gone = Array.from({ length: 12 }, () => file('.wh.x', ''))
    const other = new ImageBudget({ maxBytes: 10_000_000, maxEntries: 10 })
    await expect(merged([gone], other)).rejects.toThrow(/more than 10 entries/)
  })

  test('a record that holds for all entries cannot fill the memory', async () => {
    const links = Array.from({ length: 10 }, (_, i) => symlink(`l${i}`, 'x'))
    await expect(merged([[global(['linkpath', 'x'.repeat(900_000)]), ...links]])).rejects.toThrow(
      'linkpath has 900000 bytes',
    )
    await expect(merged([[global(['linkpath', 'x'.repeat(5_000)]), ...links]])).rejects.toThrow(
      'is a link to',
    )
    const files = Array.from({ length: 5_000 }, (_, i) => file(`f${i}`, ''))
    const attribute = global(['SCHILY.xattr.user.a', 'x'.repeat(60_000)])
    await expect(merged([[attribute, ...files]])).rejects.toThrow(/bytes of names, links and attributes/)
    const many = global(...Array.from({ length: 300 }, (_, i) => [`k${i}`, 'v'] as [string, string]))
    await expect(merged([[many, file('a')]])).rejects.toThrow('more than 256 global pax records')
  })

  test('more attributes than a file system keeps are refused', async () => {
    const pax = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`SCHILY.xattr.user.a${i}`, 'v']))
    await expect(merged([[{ ...file('a'), pax }]])).rejects.toThrow('more than 256 extended attributes')
  })
})
