import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { VarveError } from 'varve'
import { expect, test } from 'vitest'
import { ByteReader } from './byte-reader.js'
import { maxPaxBytes } from './image-limits.js'
import { madeTar } from './made-images/made-tar.js'
import { readTar, type TarEntry } from './read-tar.js'

type ReadEntry = Omit<TarEntry, 'content'> & { readonly bytes: Buffer }

async function read(archive: Buffer, pieceBytes = 1000): Promise<ReadEntry[]> {
  async function* pieces() {
    for (let at = 0; at < archive.length; at += pieceBytes) yield archive.subarray(at, at + pieceBytes)
  }
  const found: ReadEntry[] = []
  for await (const { content, ...entry } of readTar(new ByteReader(pieces()))) {
    const bytes: Buffer[] = []
    for await (const piece of content) bytes.push(piece)
    found.push({ ...entry, bytes: Buffer.concat(bytes) })
  }
  return found
}

const refusal = (archive: Buffer) =>
  read(archive).then(
    () => undefined,
    (error: unknown) => error,
  )

test('all that a header and its pax records say is read, attributes byte for byte', async () => {
  const capability = Buffer.from([1, 0, 0, 2, 0, 0x20, 0x80, 0xff, 10, 0x3d])
  const [file, device, link] = await read(
    madeTar([
      {
        name: 'short',
        mode: 0o4751,
        content: 'hello',
        pax: {
          path: `${'d'.repeat(120)}/ü`,
          uid: '3000000000',
          gid: '70000',
          mtime: '1700000000.75',
          'SCHILY.xattr.security.capability': capability,
          'SCHILY.xattr.user.empty': '',
          'SCHILY.xattr.trusted.overlay.opaque': 'y',
        },
      },
      { name: 'null', type: '3', device: [1, 3], mtime: 5 },
      { name: 'sym', type: '2', linkName: '/etc/x' },
    ]),
  )
  expect(file).toMatchObject({
    kind: 'file',
    name: `${'d'.repeat(120)}/${Buffer.from('ü').toString('latin1')}`,
    mode: 0o4751,
    uid: 3_000_000_000,
    gid: 70_000,
    mtime: 1_700_000_000,
    bytes: Buffer.from('hello'),
  })
  expect([...(file?.attributes ?? [])]).toEqual([
    ['security.capability', capability],
    ['user.empty', Buffer.alloc(0)],
  ])
  expect(device).toMatchObject({ kind: 'character', major: 1, minor: 3, mtime: 5 })
  expect(link).toMatchObject({ kind: 'symlink', linkName: '/etc/x' })
})

test('archives of GNU tar read the same in the forms gnu, pax and ustar, holes included', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'varve-tar-'))
  try {
    const long = `${'n'.repeat(140)}.txt`
    writeFileSync(join(folder, long), 'long')
    const fd = openSync(join(folder, 'sparse'), 'w')
    writeSync(fd, 'a', 0)
    writeSync(fd, 'b', 1024 * 1024)
    writeSync(fd, 'c', 64 * 1024 * 1024)
    closeSync(fd)
    const archive = (...args: string[]) => {
      const options = ['--create', '--directory', folder, '--file', '-', '--numeric-owner', ...args]
      const { stdout, status } = spawnSync('tar', options, { maxBuffer: 2 ** 28 })
      expect(status).toBe(0)
      return stdout
    }
    for (const format of ['gnu', 'pax']) {
      const [entry] = await read(archive(`--format=${format}`, long))
      expect(entry).toMatchObject({ name: long, bytes: Buffer.from('long') })
    }
    const [sparse] = await read(archive('--format=pax', '--sparse', 'sparse'))
    expect(sparse).toMatchObject({ name: 'sparse', sizeBytes: 64 * 1024 * 1024 + 1 })
    const all = Buffer.alloc(sparse?.sizeBytes ?? 0)
    let used = 0
    for (const { start, length } of sparse?.extents ?? []) {
      sparse?.bytes.copy(all, start, used, used + length)
      used += length
    }
    expect(used).toBe(sparse?.bytes.length)
    expect(used).toBeLessThan(1024 * 1024)
    expect(all.equals(readFileSync(join(folder, 'sparse')))).toBe(true)
    expect(await refusal(archive('--format=gnu', '--sparse', 'sparse'))).toMatchObject({
      code: 'FORMAT_UNSUPPORTED',
      remedy: expect.stringContaining('--format=pax'),
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

const sparse = (map: string, realsize = '100') =>
  madeTar([
    {
      name: 'x',
      content: map.padEnd(512, '\0'),
      pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': realsize },
    },
  ])

test.each([
  [
    'a header with another checksum',
    Buffer.from(madeTar([{ name: 'a' }])).fill(0x41, 0, 1),
    'FORMAT_INVALID',
  ],
  ['an archive of nothing', Buffer.alloc(0), 'FORMAT_INVALID'],
  ['text', Buffer.alloc(600, 'text'), 'FORMAT_INVALID'],
  ['an unknown type', madeTar([{ name: 'a', type: 'S' }]), 'FORMAT_UNSUPPORTED'],
  [
    'pax records beyond the bound',
    madeTar([{ name: 'p', type: 'x', sizeBytes: maxPaxBytes + 1 }]),
    'FORMAT_INVALID',
  ],
  ['a long name beyond the bound', madeTar([{ name: 'l', type: 'L', sizeBytes: 2 ** 30 }]), 'FORMAT_INVALID'],
  [
    'a record that counts wrongly',
    madeTar([{ name: 'p', type: 'x', content: '99 a=b\n' }]),
    'FORMAT_INVALID',
  ],
  ['a size that is none', madeTar([{ name: 'a', pax: { size: 'many' } }]), 'FORMAT_INVALID'],
  ['a file cut off', madeTar([{ name: 'a', pax: { size: '999999999999' } }]), 'FORMAT_INVALID'],
  [
    'attributes beyond the bound',
    madeTar([{ name: 'a', pax: { 'SCHILY.xattr.user.a': Buffer.alloc(70_000) } }]),
    'FORMAT_INVALID',
  ],
  [
    'an attribute with a line break in its name',
    madeTar([{ name: 'a', pax: { 'SCHILY.xattr.a\nb': 'c' } }]),
    'FORMAT_INVALID',
  ],
  ['a map with an extent out of place', sparse('1\n90\n20\n'), 'FORMAT_INVALID'],
  ['a map with extents that overlap', sparse('2\n0\n50\n40\n10\n'), 'FORMAT_INVALID'],
  ['a map of too many extents', sparse('99999999999\n'), 'FORMAT_INVALID'],
  ['a map that does not end', sparse('1'.repeat(512)), 'FORMAT_INVALID'],
  ['a map that stores less than it says', sparse('1\n0\n50\n'), 'FORMAT_INVALID'],
] as const)('%s is refused', async (_, archive, code) => {
  expect(await refusal(archive as Buffer)).toMatchObject({ code })
})

test('pieces of any length give the same entries; an archive cut or changed anywhere gives an error of ours', async () => {
  const archive = madeTar([
    { name: 'a', content: 'x'.repeat(700), pax: { mtime: '1.5', 'SCHILY.xattr.user.a': 'b' } },
    { name: 'd/', type: '5' },
    { name: 'h', type: '1', linkName: 'a' },
  ])
  const whole = await read(archive, archive.length)
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2000 }), async (bytes) => {
      expect(await read(archive, bytes)).toEqual(whole)
    }),
    { numRuns: 30 },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: archive.length - 1 }),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 1, max: archive.length }),
      async (at, byte, length) => {
        const changed = Buffer.from(archive.subarray(0, length))
        if (at < length) changed[at] = byte
        const error = await refusal(changed)
        if (error !== undefined) expect(error).toBeInstanceOf(VarveError)
      },
    ),
    { numRuns: 300 },
  )
})
