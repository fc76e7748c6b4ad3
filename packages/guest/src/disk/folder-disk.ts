import { lstatSync, mkdtempSync, readdirSync, readlinkSync, rmSync, type Stats, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { ContentSpool } from '../image/content-spool.js'
import { ImageBudget } from '../image/image-limits.js'
import { type Attributes, ImageTree } from '../image/image-tree.js'
import { type Ext4Disk, type Ext4Options, writeExt4 } from './ext4-disk.js'

/**
 * Writes the files of a folder of ours into a new ext4 file system, as `writeExt4` does. There, all of them
 * belong to root and are from 1970: equal files give equal bytes. Errors: FORMAT_UNSUPPORTED for a file that
 * is neither regular nor a link or folder.
 */
export async function writeFolderDisk(
  folder: string,
  target: string,
  options: Ext4Options = {},
): Promise<Ext4Disk> {
  const contents = mkdtempSync(join(tmpdir(), 'varve-folder-'))
  try {
    const spool = new ContentSpool(contents)
    return await writeExt4(folderTree(folder, spool), spool, target, options)
  } finally {
    rmSync(contents, { recursive: true })
  }
}

/** An ext4 file system without files. */
export function writeEmptyDisk(target: string, options: Ext4Options = {}): Promise<Ext4Disk> {
  return writeExt4(new ImageTree(new ImageBudget()), new ContentSpool(tmpdir()), target, options)
}

function folderTree(folder: string, spool: ContentSpool): ImageTree {
  const tree = new ImageTree(new ImageBudget())
  for (const [index, name] of readdirSync(folder, { recursive: true, encoding: 'utf8' }).entries()) {
    const path = bytesOf(name)
    const source = join(folder, name)
    const info = lstatSync(source)
    if (info.isDirectory()) tree.directory(path, attributes(info))
    else if (info.isSymbolicLink())
      tree.put(path, { kind: 'symlink', target: bytesOf(readlinkSync(source)), ...attributes(info) })
    else if (info.isFile()) {
      // A link in place of a copy: debugfs follows it, and keeps the file's holes.
      const content = `${index}`
      symlinkSync(source, spool.pathOf(content))
      tree.put(path, {
        ...{ kind: 'file', content, sizeBytes: info.size, dataBytes: info.size },
        ...attributes(info),
      })
    } else throw new VarveError('FORMAT_UNSUPPORTED', `${source} is neither a file nor a folder nor a link`)
  }
  return tree
}

/** Each byte of a path is a character in a tree. */
const bytesOf = (path: string) => Buffer.from(path).toString('latin1')

const attributes = (info: Stats): Attributes => ({
  ...{ mode: info.mode & 0o7777, uid: 0, gid: 0, mtime: 0, xattrs: new Map() },
})
