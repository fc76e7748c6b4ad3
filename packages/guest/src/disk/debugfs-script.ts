import { VarveError } from 'varve'
import type { ContentSpool } from '../image/content-spool.js'
import type { Attributes, DirectoryNode, ImageNode, ImageTree, LeafNode } from '../image/image-tree.js'
import { type ByteString, shown } from '../image/tar-header.js'

const blockBytes = 4096
/** Bytes of entries that a fresh block of a directory has room for: 12 are its checksum. */
const entryBytesOfBlock = blockBytes - 12
/** debugfs reads lines of BUFSIZ − 1 bytes. */
const maxLineBytes = 8000
/** Times are 32 bits with a sign in the inode's first half. */
const maxTime = 2 ** 31 - 1

export interface DebugfsScript {
  /** Lines for `debugfs -f`, to be run where the spool is. */
  readonly commands: Buffer
  readonly inodes: number
  readonly dataBytes: number
  /** Of contents, directories, long links and attributes; at least what they take. */
  readonly blocks: number
}

const fileTypes = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  character: 0o020000,
  block: 0o060000,
  fifo: 0o010000,
} as const

/** debugfs takes no larger one. */
const maxMinor = 65_535

interface Name {
  /** Of the directory, '' for the root's own. */
  readonly folder: ByteString
  readonly name: ByteString
}

/**
 * What makes an image's entries in an empty file system, in the order of their bytes. A directory is entered
 * before its entries are made, and each is named `./NAME`, as debugfs takes a bare `<12>` for an inode
 * number.
 */
export function debugfsScript(tree: ImageTree, spool: ContentSpool): DebugfsScript {
  const lines: string[] = []
  const add = (line: string) => {
    if (line.length > maxLineBytes)
      throw new VarveError('FORMAT_UNSUPPORTED', `image entry ${shown(line)} is too long for debugfs`)
    lines.push(line)
  }
  const first = new Map<LeafNode, Name>()
  const links = new Map<ByteString, { readonly name: ByteString; readonly node: LeafNode }[]>()
  const total = { inodes: 1, dataBytes: 0, blocks: 0 }

  const attributes = (place: string, type: number, { mode, uid, gid, mtime, xattrs }: Attributes) => {
    // Before the times: debugfs gives the inode a new one when it sets an attribute.
    for (const [name, value] of [...xattrs].sort(byKey))
      add(`ea_set -f ${spool.addBytes(value).name} ${place} ${quoted(name)}`)
    if (xattrs.size > 0) total.blocks++
    add(`sif ${place} mode 0${(type | mode).toString(8)}`)
    // The low 16 bits and the high ones are fields of their own, which debugfs sets both.
    if (uid !== 0) add(`sif ${place} uid ${uid}`)
    if (gid !== 0) add(`sif ${place} gid ${gid}`)
    add(`sif ${place} mtime @${Math.min(Math.max(mtime, 0), maxTime)}`)
  }

  const make = (folder: ByteString, name: ByteString, node: ImageNode) => {
    const bare = quoted(name)
    if (node.kind === 'directory') return add(`mkdir ${bare}`)
    if (first.has(node)) {
      const here = links.get(folder)
      if (here === undefined) links.set(folder, [{ name, node }])
      else here.push({ name, node })
      return
    }
    first.set(node, { folder, name })
    total.inodes++
    switch (node.kind) {
      case 'file':
        add(`write ${node.content} ${bare}`)
        total.dataBytes += node.dataBytes
        total.blocks += Math.ceil(node.dataBytes / blockBytes) + 1
        break
      case 'symlink':
        add(`symlink ${bare} ${quoted(node.target)}`)
        total.blocks++
        break
      case 'fifo':
        add(`mknod ${bare} p`)
        break
      default:
        if (node.minor > maxMinor)
          throw new VarveError(
            'FORMAT_UNSUPPORTED',
            `image entry ${shown(name)} is device ${node.major}:${node.minor}`,
          )
        add(`mknod ${bare} ${node.kind === 'character' ? 'c' : 'b'} ${node.major} ${node.minor}`)
    }
    attributes(quoted(`./${name}`), fileTypes[node.kind], node)
  }

  const fill = (directory: DirectoryNode, path: ByteString) => {
    const entries = [...directory.entries].map(([name, { node }]) => [name, node] as const).sort(byKey)
    total.inodes += entries.filter(([, node]) => node.kind === 'directory').length
    total.blocks += 2 + Math.ceil(entries.reduce((sum, [name]) => sum + entryBytes(name), 24) / 2048)
    add(`cd ${quoted(path === '' ? '/' : path)}`)
    for (const [name, node] of entries) make(path, name, node)
    for (const [name, node] of entries) if (node.kind === 'directory') fill(node, `${path}/${name}`)
  }

  fill(tree.root, '')
  for (const [folder, names] of links) {
    add(`cd ${quoted(folder === '' ? '/' : folder)}`)
    // `ln` does not make a full directory larger.
    const bytes = names.reduce((sum, { name }) => sum + entryBytes(name), 0)
    const room = Math.ceil(bytes / (entryBytesOfBlock - 264))
    for (let i = 0; i < room; i++) add('expand_dir .')
    for (const { name, node } of names) {
      const { folder: there, name: firstName } = first.get(node) as Name
      add(`ln ${quoted(`${there}/${firstName}`)} ${quoted(`./${name}`)}`)
    }
  }
  const counts = new Map<LeafNode, number>()
  for (const names of links.values())
    for (const { node } of names) counts.set(node, (counts.get(node) ?? 1) + 1)
  for (const [node, count] of counts) {
    const { folder, name } = first.get(node) as Name
    if (count > 65_000)
      throw new VarveError('FORMAT_UNSUPPORTED', `image entry ${shown(name)} has ${count} hard links`)
    add(`sif ${quoted(`${folder}/${name}`)} links_count ${count}`)
  }
  // Last, as making entries changes a directory's times.
  const setDirectories = (directory: DirectoryNode, path: ByteString) => {
    attributes(quoted(path === '' ? '/' : path), fileTypes.directory, directory.attributes)
    for (const [name, { node }] of [...directory.entries].sort(byKey))
      if (node.kind === 'directory') setDirectories(node, `${path}/${name}`)
  }
  setDirectories(tree.root, '')
  return { commands: Buffer.from(`${lines.join('\n')}\n`, 'latin1'), ...total }
}

/** In the order of the bytes, which code units 0–255 have as well. */
const byKey = <T>([a]: readonly [string, T], [b]: readonly [string, T]) => (a < b ? -1 : a > b ? 1 : 0)

/** Inode, lengths and type take 8 bytes, the name is padded to 4. */
const entryBytes = (name: ByteString) => 8 + Math.ceil(name.length / 4) * 4

/** One argument for debugfs: in quotes, which are doubled within. */
function quoted(text: ByteString): string {
  if (/[\n\r]/.test(text))
    throw new VarveError('FORMAT_UNSUPPORTED', `image entry ${shown(text)} has a line break in its name`)
  return `"${text.replaceAll('"', '""')}"`
}
