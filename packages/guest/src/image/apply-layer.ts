import { throwIfAborted, VarveError } from 'varve'
import { ByteReader } from './byte-reader.js'
import type { ContentSpool } from './content-spool.js'
import { type ImageBudget, maxPathBytes } from './image-limits.js'
import type { Attributes, ImageTree } from './image-tree.js'
import { readTar, type TarEntry } from './read-tar.js'
import { shown } from './tar-header.js'

/** Names in layers that say what is gone (OCI image specification, layer.md, "Whiteouts"). */
const whiteoutPrefix = '.wh.'
const opaqueName = '.wh..wh..opq'
/** Names of AUFS's own files, which some old images have. */
const aufsPrefix = '.wh..wh.'

/** Owners are 32-bit, all ones meaning "none". */
const maxOwner = 2 ** 32 - 2

export interface ApplyOptions {
  readonly tree: ImageTree
  readonly spool: ContentSpool
  readonly budget: ImageBudget
  readonly signal: AbortSignal | undefined
}

/** Puts an unpacked layer over the tree. Reads the stream to its end. */
export async function applyLayer(bytes: AsyncIterable<Uint8Array>, options: ApplyOptions): Promise<void> {
  const { tree, signal } = options
  const reader = new ByteReader(bytes)
  tree.nextLayer()
  for await (const entry of readTar(reader)) {
    throwIfAborted(signal, 'reading an image')
    await applyEntry(entry, options)
  }
  await reader.drain()
}

async function applyEntry(entry: TarEntry, { tree, spool, budget }: ApplyOptions): Promise<void> {
  const { kind, name, linkName } = entry
  const { folder, base } = splitName(name)
  if (base.startsWith(whiteoutPrefix)) budget.spendEntry()
  if (base === opaqueName) return tree.removeOlderIn(folder)
  if (base.startsWith(aufsPrefix)) return
  if (base.startsWith(whiteoutPrefix)) {
    const gone = base.slice(whiteoutPrefix.length)
    if (gone === '' || gone === '.' || gone === '..')
      throw new VarveError('PATH_INVALID', `image entry ${shown(name)} takes away no name`)
    return tree.removeOlder(`${folder}/${gone}`)
  }
  const attributes = attributesOf(entry)
  switch (kind) {
    case 'directory':
      tree.directory(name, attributes)
      return
    case 'link':
      return tree.link(name, linkName)
    case 'symlink':
      if (linkName === '' || linkName.length > maxPathBytes || linkName.includes('\0'))
        throw new VarveError('FORMAT_INVALID', `image entry ${shown(name)} is a link to ${shown(linkName)}`)
      return tree.put(name, { kind, ...attributes, mode: 0o777, target: linkName })
    case 'character':
    case 'block': {
      const { major, minor } = entry
      // The kernel's dev_t: 12 bits and 20.
      if (!(major >= 0 && major < 2 ** 12 && minor >= 0 && minor < 2 ** 20))
        throw new VarveError('FORMAT_INVALID', `image entry ${shown(name)} is device ${major}:${minor}`)
      return tree.put(name, { kind, ...attributes, major, minor })
    }
    case 'fifo':
      return tree.put(name, { kind, ...attributes })
    case 'file': {
      const { sizeBytes, extents, content } = entry
      // What is stored was counted as it came.
      if (extents !== null) budget.spendBytes(sizeBytes)
      const { name: file, dataBytes } = await spool.add(content, sizeBytes, extents)
      return tree.put(name, { kind, ...attributes, content: file, sizeBytes, dataBytes })
    }
  }
}

function splitName(name: string): { readonly folder: string; readonly base: string } {
  const plain = name.replace(/\/+$/, '')
  const slash = plain.lastIndexOf('/')
  return { folder: plain.slice(0, Math.max(slash, 0)), base: plain.slice(slash + 1) }
}

function attributesOf({ name, mode, uid, gid, mtime, attributes }: TarEntry): Attributes {
  for (const owner of [uid, gid])
    if (!(owner >= 0 && owner <= maxOwner))
      throw new VarveError('FORMAT_INVALID', `image entry ${shown(name)} belongs to ${owner}`)
  return { mode, uid, gid, mtime, xattrs: attributes }
}
