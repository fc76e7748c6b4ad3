import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hashFile } from 'varve/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { applyLayer } from '../image/apply-layer.js'
import { ContentSpool } from '../image/content-spool.js'
import { ImageBudget } from '../image/image-limits.js'
import { type ImageNode, ImageTree } from '../image/image-tree.js'
import { type MadeEntry, madeTar } from '../image/made-images/made-tar.js'
import { debugfsScript } from './debugfs-script.js'
import { ext4Version, writeExt4 } from './ext4-disk.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-ext4-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const mib = 1024 * 1024
const capability = Buffer.from([1, 0, 0, 2, 0, 4, 0x80, 0xff, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
/** POSIX ACL, version 2: user::rw-, user:1000:r--, group::r--, mask::r--, other::---. */
const acl = Buffer.from(
  '02000000' +
    '01000600ffffffff' +
    '02000400e8030000' +
    '04000400ffffffff' +
    '10000400ffffffff' +
    '20000000ffffffff',
  'hex',
)

/** There an entry has an id only if it is of a named user or group. */
const aclBytesOnDisk = 28

/** Ordinary and odd entries. The text of a file is its name unless it matters. */
const entries: readonly MadeEntry[] = [
  { name: './', type: '5', mode: 0o751, uid: 3, mtime: 1_600_000_000 },
  { name: 'etc', type: '5', mode: 0o2775, gid: 42, mtime: 1_700_000_001 },
  { name: 'etc/passwd', content: 'root', mode: 0o640, uid: 0, gid: 70_000, mtime: 1_700_000_002 },
  {
    name: 'etc/ping',
    content: 'ping',
    mode: 0o4755,
    pax: { 'SCHILY.xattr.security.capability': capability },
  },
  {
    name: 'etc/attributes',
    content: '',
    pax: {
      uid: '4294967294',
      'SCHILY.xattr.user.big': Buffer.alloc(2000, 'b'),
      'SCHILY.xattr.user.empty': '',
      'SCHILY.xattr.trusted.t': 'x=\ny"\0',
    },
  },
  { name: 'etc/acl', content: 'acl', mode: 0o640, pax: { 'SCHILY.xattr.system.posix_acl_access': acl } },
  { name: 'tmp', type: '5', mode: 0o1777 },
  { name: 'dev', type: '5' },
  { name: 'dev/null', type: '3', mode: 0o666, device: [1, 3] },
  { name: 'dev/many', type: '4', mode: 0o660, gid: 6, device: [259, 60_000] },
  { name: 'dev/pipe', type: '6', mode: 0o600, uid: 9, mtime: 77 },
  { name: 'short', type: '2', linkName: 'etc/passwd', uid: 5, mtime: 1234 },
  { name: 'long', type: '2', linkName: `/${'x/'.repeat(900)}end with "quotes" and space` },
  { name: 'linked', type: '1', linkName: 'etc/passwd' },
  { name: 'etc/again', type: '1', linkName: 'etc/passwd' },
  { name: 'pipe2', type: '1', linkName: 'dev/pipe' },
  { name: '<12>', content: 'no inode number' },
  { name: '-w', content: 'no option' },
  { name: '#comment', content: 'no comment' },
  { name: 'He said "hi" \\n $HOME `x`', content: 'quoted' },
  { name: 'tab\there ', content: 'blank' },
  { name: 'a', content: '', pax: { path: 'größe-日本' } },
  { name: 'a', content: 'bytes', pax: { path: Buffer.from([0x62, 0xff, 0xfe, 0x01]) } },
  { name: 'n', content: 'n', pax: { path: 'n'.repeat(255) } },
  { name: 'old', content: 'old', pax: { mtime: '-5' } },
  { name: 'future', content: 'future', pax: { mtime: '99999999999' } },
  { name: 'zeros', content: Buffer.alloc(3 * mib) },
  { name: 'large', content: Buffer.alloc(2 * mib + 7, 'large ') },
  {
    name: 'holes',
    content: `${`2\n4096\n5\n20000000\n3\n`.padEnd(512, '\0')}firstend`,
    pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '30000000' },
  },
  { name: 'many', type: '5' },
  ...Array.from({ length: 700 }, (_, i) => ({
    name: `many/with a long enough name ${i}`,
    content: `${i % 10}`,
  })),
  { name: 'links', type: '5' },
  ...Array.from({ length: 400 }, (_, i) => ({
    name: `links/with a long enough name ${i}`,
    type: '1',
    linkName: 'etc/passwd',
  })),
]

async function built(name: string, members = entries, sizeBytes?: number) {
  const work = mkdtempSync(join(folder, 'work-'))
  const spool = new ContentSpool(work)
  const budget = new ImageBudget()
  const tree = new ImageTree(budget)
  async function* bytes() {
    yield madeTar(members)
  }
  await applyLayer(bytes(), { tree, spool, budget, signal: undefined })
  const path = join(folder, name)
  const disk = await writeExt4(tree, spool, path, { sizeBytes })
  return { tree, spool, path, disk }
}

const tools = {
  env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C', TZ: 'UTC' },
  maxBuffer: 2 ** 28,
}

function debugfs(image: string, commands: readonly string[]): Buffer[] {
  // Each answer follows the line that echoes its command.
  const input = Buffer.from(`${commands.join('\n')}\n`, 'latin1')
  const { stdout, stderr } = spawnSync('debugfs', ['-f', '-', image], { ...tools, input })
  expect(stderr.toString()).toMatch(/^debugfs \d[^\n]*\n$/)
  const text = stdout.toString('latin1')
  const answers: Buffer[] = []
  let at = 0
  for (const [index, command] of commands.entries()) {
    const start = text.indexOf(`debugfs: ${command}\n`, at) + `debugfs: ${command}\n`.length
    const next = commands[index + 1]
    at = next === undefined ? text.length : text.indexOf(`debugfs: ${next}\n`, start)
    answers.push(Buffer.from(text.slice(start, at), 'latin1'))
  }
  return answers
}

const quoted = (path: string) => `"${path.replaceAll('"', '""')}"`

/** What the file system has, in the words of the image's tree; hard links as the path that comes first. */
function readBack(image: string): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  const firstOf = new Map<string, string>()
  let level = ['/']
  found['/'] = inodes(image, ['/'])[0]
  while (level.length > 0) {
    const listings = debugfs(
      image,
      level.map((path) => `ls -p ${quoted(path)}`),
    )
    const paths: string[] = []
    for (const [index, listing] of listings.entries())
      for (const line of listing.toString('latin1').split('\n')) {
        // /inode/mode/uid/gid/name/size/
        const [, inode, , , , name] = /^\/(\d+)\/(\d+)\/(-?\d+)\/(-?\d+)\/(.*)\/(\d*)\/$/s.exec(line) ?? []
        if (name === undefined || inode === '0' || name === '.' || name === '..' || name === 'lost+found')
          continue
        paths.push(`${level[index] === '/' ? '' : level[index]}/${name}`)
      }
    const nodes = inodes(image, paths)
    level = []
    for (const [index, path] of paths.entries()) {
      const node = nodes[index] as { kind: string; inode: string }
      if (node.kind === 'directory') level.push(path)
      firstOf.set(node.inode, [firstOf.get(node.inode) ?? path, path].sort()[0] as string)
      found[path] = node
    }
  }
  for (const [path, node] of Object.entries(found)) {
    const { inode, ...rest } = node as { inode: string }
    found[path] = { ...rest, first: firstOf.get(inode) ?? path }
  }
  return found
}

const kinds: Record<string, string> = {
  regular: 'file',
  directory: 'directory',
  symlink: 'symlink',
  'character special': 'character',
  'block special': 'block',
  FIFO: 'fifo',
}

function inodes(image: string, paths: readonly string[]) {
  const stats = debugfs(
    image,
    paths.map((path) => `stat ${quoted(path)}`),
  )
  const attributes = debugfs(
    image,
    paths.map((path) => `ea_list ${quoted(path)}`),
  )
  return paths.map((path, index) => {
    const text = stats[index]?.toString('latin1') ?? ''
    const field = (pattern: RegExp) => pattern.exec(text)?.[1] ?? ''
    const kind = kinds[field(/Type: (.+?) {2,}Mode:/)] ?? ''
    const xattrs = [...(attributes[index]?.toString('latin1') ?? '').matchAll(/^ {2}(\S+) \((\d+)\)/gm)]
      .map(([, name, bytes]) => [name, Number(bytes)])
      .sort()
    const mtime = Number(field(/mtime: 0x([0-9a-f]{8})/).replace(/^/, '0x'))
    return {
      inode: field(/Inode: (\d+)/),
      kind,
      mode: Number.parseInt(field(/Mode: +(\d+)/), 8),
      // Printed with a sign.
      uid: Number(field(/User: +(-?\d+)/)) >>> 0,
      gid: Number(field(/Group: +(-?\d+)/)) >>> 0,
      mtime,
      xattrs,
      links: kind === 'directory' ? undefined : Number(field(/Links: (\d+)/)),
      ...(kind === 'character' || kind === 'block'
        ? {
            device: field(/major\/minor number: (\d+:\d+)/)
              .split(':')
              .map(Number),
          }
        : {}),
      ...(kind === 'symlink' ? { target: target(image, path, field(/Fast link dest: "(.*)"/s)) } : {}),
      ...(kind === 'file' ? { size: Number(field(/Size: (\d+)/)) } : {}),
    }
  })
}

/** A long target is in a block. */
const target = (image: string, path: string, fast: string) =>
  fast !== '' ? fast : (debugfs(image, [`cat ${quoted(path)}`])[0] as Buffer).toString('latin1')

/** The same of the tree. */
function expected(tree: ImageTree): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  const pathsOf = new Map<ImageNode, string[]>()
  const visit = (node: ImageNode, path: string) => {
    pathsOf.set(node, [...(pathsOf.get(node) ?? []), path])
    if (node.kind === 'directory')
      for (const [name, { node: child }] of node.entries) visit(child, `${path === '/' ? '' : path}/${name}`)
  }
  visit(tree.root, '/')
  for (const [node, paths] of pathsOf)
    for (const path of paths) {
      const { mode, uid, gid, mtime, xattrs } = node.kind === 'directory' ? node.attributes : node
      found[path] = {
        kind: node.kind,
        mode,
        uid,
        gid,
        mtime: Math.min(Math.max(mtime, 0), 2 ** 31 - 1),
        xattrs: [...xattrs]
          .map(([name, value]) => [name, name === 'system.posix_acl_access' ? aclBytesOnDisk : value.length])
          .sort(),
        links: node.kind === 'directory' ? undefined : paths.length,
        ...(node.kind === 'character' || node.kind === 'block' ? { device: [node.major, node.minor] } : {}),
        ...(node.kind === 'symlink' ? { target: node.target } : {}),
        ...(node.kind === 'file' ? { size: node.sizeBytes } : {}),
        first: [...paths].sort()[0],
      }
    }
  return found
}

describe('an ext4 disk', () => {
  let disk: Awaited<ReturnType<typeof built>>
  beforeAll(async () => {
    disk = await built('a.ext4')
  })

  test('e2fsck finds nothing to mend', () => {
    const { status, stdout } = spawnSync('e2fsck', ['-f', '-n', disk.path], tools)
    expect(stdout.toString()).not.toMatch(/should|fix|error/i)
    expect(status).toBe(0)
  })

  test('has every entry of the image with owner, mode, time, links, device and attributes', () => {
    expect(readBack(disk.path)).toEqual(expected(disk.tree))
  })

  test('has the bytes of files and attributes', () => {
    const files = ['/<12>', '/He said "hi" \\n $HOME `x`', '/large', '/holes', '/zeros', '/tab\there ']
    const dumped = files.map((path, index) => {
      const out = join(folder, `dump-${index}`)
      debugfs(disk.path, [`dump ${quoted(path)} ${out}`])
      return readFileSync(out)
    })
    for (const [index, path] of files.entries()) {
      const node = disk.tree.find(path)
      if (node?.kind !== 'file') throw new Error(path)
      expect(dumped[index]?.equals(readFileSync(disk.spool.pathOf(node.content)))).toBe(true)
    }
    const value = (path: string, name: string) => {
      const out = join(folder, 'value')
      debugfs(disk.path, [`ea_get -f ${out} ${path} ${name}`])
      return readFileSync(out)
    }
    expect(value('/etc/ping', 'security.capability')).toEqual(capability)
    expect(value('/etc/attributes', 'user.big')).toEqual(Buffer.alloc(2000, 'b'))
    expect(value('/etc/attributes', 'trusted.t')).toEqual(Buffer.from('x=\ny"\0'))
    // debugfs gives 0 for an id that the disk does not have.
    const withoutIds = Buffer.from(acl.toString('hex').replaceAll('ffffffff', '00000000'), 'hex')
    expect(value('/etc/acl', 'system.posix_acl_access')).toEqual(withoutIds)
  })

  test('holes take no room, in the disk and on the host', () => {
    const [holes, zeros] = debugfs(disk.path, ['stat /holes', 'stat /zeros']).map(String)
    expect(Number(/Blockcount: (\d+)/.exec(holes ?? '')?.[1])).toBe(16)
    expect(Number(/Blockcount: (\d+)/.exec(zeros ?? '')?.[1])).toBeLessThan(3 * 2048)
    const { size, blocks } = statSync(disk.path)
    expect(size).toBe(disk.disk.sizeBytes)
    expect(blocks * 512).toBeLessThan(24 * mib)
  })

  test('is the same byte for byte when it is built again, later', async () => {
    await sleep(1100)
    const again = await built('b.ext4')
    expect(await hashFile(again.path)).toEqual(await hashFile(disk.path))
  })

  test('has the version of its format in its superblock', async () => {
    const magic = Buffer.alloc(2)
    const fd = openSync(disk.path, 'r')
    readSync(fd, magic, 0, 2, 1024 + 0x38)
    closeSync(fd)
    expect(magic.toString('hex')).toBe('53ef')
    expect(await ext4Version()).toMatch(/^1\.\d+\.\d+/)
  })
})

describe('what a disk cannot have', () => {
  test('more files than it has room for: refused with the size that would do', async () => {
    const members = [{ name: 'a', content: Buffer.alloc(30 * mib, 'a') }]
    const error = await built('small.ext4', members, 16 * mib).catch((it: unknown) => it)
    expect(error).toMatchObject({
      code: 'INVALID_ARGUMENT',
      remedy: expect.stringMatching(/^give it \d+ MiB/),
    })
    const [needed] = /\d+/.exec((error as { remedy: string }).remedy) ?? []
    const { path } = await built('enough.ext4', members, Number(needed) * mib)
    expect(spawnSync('e2fsck', ['-f', '-n', path], tools).status).toBe(0)
  })

  test('a name with a line break, a device that debugfs cannot make, attributes that no block holds', async () => {
    await expect(built('w', [{ name: 'a', type: '3', device: [259, 70_000] }])).rejects.toMatchObject({
      code: 'FORMAT_UNSUPPORTED',
    })
    await expect(built('x', [{ name: 'a', pax: { path: 'a\nrm b' } }])).rejects.toMatchObject({
      code: 'FORMAT_UNSUPPORTED',
    })
    await expect(
      built('y', [{ name: 'a', pax: { 'SCHILY.xattr.user.a': Buffer.alloc(20_000) } }]),
    ).rejects.toMatchObject({ code: 'HOST_UNSUPPORTED', message: expect.stringContaining('ea_set') })
  })
})

test('60,000 hard links in one folder take no longer than they are many', () => {
  const tree = new ImageTree(new ImageBudget())
  const attributes = { mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: new Map() }
  tree.put('first', { kind: 'fifo', ...attributes })
  for (let n = 0; n < 60_000; n++) tree.link(`link-${n}`, 'first')
  const start = performance.now()
  const { commands } = debugfsScript(tree, new ContentSpool(folder))
  expect(commands.toString().match(/^ln /gm)).toHaveLength(60_000)
  // By copying the list for each link: 30 s.
  expect(performance.now() - start).toBeLessThan(5_000)
})
