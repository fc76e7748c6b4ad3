import { VarveError } from 'varve'
import { type ImageBudget, maxDepth, maxNameBytes, maxPathBytes } from './image-limits.js'
import { type ByteString, shown } from './tar-header.js'

/** What every kind of entry has. */
export interface Attributes {
  /** Permissions with set-id and sticky bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Seconds since 1970. */
  readonly mtime: number
  readonly xattrs: ReadonlyMap<string, Buffer>
}

export interface FileNode extends Attributes {
  readonly kind: 'file'
  /** Name of its content in the spool. */
  readonly content: string
  readonly sizeBytes: number
  /** Bytes that are no holes. */
  readonly dataBytes: number
}
export interface SymlinkNode extends Attributes {
  readonly kind: 'symlink'
  readonly target: ByteString
}
export interface DeviceNode extends Attributes {
  readonly kind: 'character' | 'block'
  readonly major: number
  readonly minor: number
}
export interface FifoNode extends Attributes {
  readonly kind: 'fifo'
}
export interface DirectoryNode {
  readonly kind: 'directory'
  attributes: Attributes
  readonly entries: Map<ByteString, DirectoryEntry>
}
/** Hard links are entries of the same node. */
export type LeafNode = FileNode | SymlinkNode | DeviceNode | FifoNode
export type ImageNode = LeafNode | DirectoryNode

interface DirectoryEntry {
  readonly node: ImageNode
  /** The layer that brought this name, from 0. */
  readonly layer: number
}

/** Of a directory that an archive needs and does not have. */
const madeDirectory: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map() }

const newDirectory = (attributes: Attributes): DirectoryNode => ({
  kind: 'directory',
  attributes,
  entries: new Map(),
})

/** As Linux: a path through more links is ELOOP. */
const maxLinks = 40

/**
 * The files of an image as its layers build it up, in memory. Paths and links lead within the tree alone, as
 * they would for a process whose root it is: nothing here touches the host.
 */
export class ImageTree {
  readonly root: DirectoryNode = newDirectory(madeDirectory)
  readonly #budget: ImageBudget
  #layer = 0

  constructor(budget: ImageBudget) {
    this.#budget = budget
  }

  /** From now on entries belong to the next layer. */
  nextLayer(): void {
    this.#layer++
  }

  /** The directory at a path, made with its parents where there is nothing. The root has the path ''. */
  directory(path: ByteString, attributes?: Attributes): DirectoryNode {
    const { parent, name } = this.#parentOf(path, { make: true })
    if (name === '') {
      if (attributes !== undefined) this.root.attributes = attributes
      return this.root
    }
    const there = parent.entries.get(name)?.node
    const node = there?.kind === 'directory' ? there : newDirectory(attributes ?? madeDirectory)
    if (there?.kind === 'directory' && attributes !== undefined) there.attributes = attributes
    this.#set(parent, name, node)
    return node
  }

  put(path: ByteString, node: LeafNode): void {
    const { parent, name } = this.#parentOf(path, { make: true })
    if (name === '') throw invalidPath(path, 'is the root, which must be a directory')
    this.#set(parent, name, node)
  }

  /** Another name for what `target` names. */
  link(path: ByteString, target: ByteString): void {
    const node = this.find(target)
    if (node === undefined || node.kind === 'directory')
      throw invalidPath(
        path,
        `is a hard link to ${shown(target)}, which is ${node ? 'a directory' : 'not there'}`,
      )
    this.put(path, node)
  }

  /** What a path names, links on the way followed, the last one not. */
  find(path: ByteString): ImageNode | undefined {
    const found = this.#lookUp(path)
    if (found === undefined) return undefined
    return found.name === '' ? found.parent : found.parent.entries.get(found.name)?.node
  }

  /** Removes what older layers have under this name. */
  removeOlder(path: ByteString): void {
    const found = this.#lookUp(path)
    if (found === undefined || found.name === '') return
    const entry = found.parent.entries.get(found.name)
    if (entry === undefined) return
    if (entry.layer < this.#layer) found.parent.entries.delete(found.name)
    else if (entry.node.kind === 'directory') this.#removeOlderIn(entry.node)
  }

  /** Removes all that older layers have in a directory. */
  removeOlderIn(path: ByteString): void {
    const node = this.find(path)
    if (node?.kind === 'directory') this.#removeOlderIn(node)
  }

  #removeOlderIn(directory: DirectoryNode): void {
    for (const [name, { node, layer }] of directory.entries)
      if (layer < this.#layer) directory.entries.delete(name)
      else if (node.kind === 'directory') this.#removeOlderIn(node)
  }

  #set(parent: DirectoryNode, name: ByteString, node: ImageNode): void {
    this.#budget.spendEntry(name.length + keptBytesOf(node))
    parent.entries.set(name, { node, layer: this.#layer })
  }

  #lookUp(path: ByteString): { readonly parent: DirectoryNode; readonly name: ByteString } | undefined {
    try {
      return this.#parentOf(path, { make: false })
    } catch (error) {
      if (error instanceof Missing) return undefined
      throw error
    }
  }

  #parentOf(
    path: ByteString,
    { make }: { readonly make: boolean },
  ): { readonly parent: DirectoryNode; readonly name: ByteString } {
    const names = namesIn(path)
    if (names.includes('..')) throw invalidPath(path, 'has ".." in it')
    const name = names.pop() ?? ''
    return { parent: this.#walk(names, path, make), name }
  }

  /** The directory that `names` lead to, links followed within the tree. */
  #walk(names: readonly ByteString[], path: ByteString, make: boolean): DirectoryNode {
    // From the last name to the first: links put theirs on top.
    const left = [...names].reverse()
    const way: DirectoryNode[] = [this.root]
    let links = 0
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      const here = way[way.length - 1] as DirectoryNode
      if (name === '..') {
        if (way.length > 1) way.pop()
        continue
      }
      if (way.length > maxDepth) throw invalidPath(path, `is more than ${maxDepth} levels deep`)
      const entry = here.entries.get(name)
      if (entry === undefined) {
        if (!make) throw new Missing()
        const made = newDirectory(madeDirectory)
        this.#set(here, name, made)
        way.push(made)
      } else if (entry.node.kind === 'directory') {
        // So that a whiteout of this name, later in the layer, leaves what the layer brings below it.
        if (make) here.entries.set(name, { node: entry.node, layer: this.#layer })
        way.push(entry.node)
      } else if (entry.node.kind === 'symlink') {
        if (++links > maxLinks) throw invalidPath(path, `leads through more than ${maxLinks} links`)
        const { target } = entry.node
        if (target.startsWith('/')) way.length = 1
        left.push(...namesIn(target).reverse())
      } else if (make) {
        throw invalidPath(path, `lies below ${shown(name)}, which is no directory`)
      } else throw new Missing()
    }
    return way[way.length - 1] as DirectoryNode
  }
}

/** What stays in memory of a node: its target and attributes. */
function keptBytesOf(node: ImageNode): number {
  const { xattrs } = node.kind === 'directory' ? node.attributes : node
  let bytes = node.kind === 'symlink' ? node.target.length : 0
  for (const [name, value] of xattrs) bytes += name.length + value.length
  return bytes
}

/** Nothing is at a path. */
class Missing extends Error {}

function namesIn(path: ByteString): ByteString[] {
  if (path.length > maxPathBytes)
    throw invalidPath(path, `has ${path.length} bytes, more than ${maxPathBytes}`)
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  for (const name of names) {
    if (name.length > maxNameBytes) throw invalidPath(path, `has a name of ${name.length} bytes`)
    if (name.includes('\0')) throw invalidPath(path, 'has a NUL in it')
  }
  return names
}

const invalidPath = (path: ByteString, what: string) =>
  new VarveError('PATH_INVALID', `image entry ${shown(path)} ${what}`)
