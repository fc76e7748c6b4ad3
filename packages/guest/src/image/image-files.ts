import { createHash } from 'node:crypto'
import { join, posix } from 'node:path'
import { type Descriptor, notFound, VarveError } from 'varve'
import { descriptorFromJson, Fields, hexOf, parseJson, readSmallFile } from 'varve/testing'
import { maxJsonBytes } from './image-limits.js'
import type { ImageTree } from './image-tree.js'

/** The files that an image comes in: a folder of the host's, or what was read from an archive. */
export interface ImageFiles {
  /** For messages. */
  readonly from: string
  /** The host's file that has the content of a file of the image; NOT_FOUND if there is none. */
  pathOf(name: string): string
}

/** `name` never comes from an image but for digests, which have no slash. */
export const folderFiles = (directory: string): ImageFiles => ({
  from: directory,
  pathOf: (name) => join(directory, name),
})

export function archivedFiles(
  from: string,
  tree: ImageTree,
  contentPath: (name: string) => string,
): ImageFiles {
  return {
    from,
    pathOf: (name) => {
      let path = name
      // `docker save` wrote links to layers that it had written before.
      for (let links = 0; links < 8; links++) {
        const node = tree.find(path)
        if (node?.kind === 'file') return contentPath(node.content)
        if (node?.kind !== 'symlink') break
        path = posix.join('/', posix.dirname(path), node.target)
      }
      throw notFound('file', `${from} has no file ${JSON.stringify(name)}`)
    },
  }
}

/** A JSON document of an image, with the checks of its fields. */
export function readImageJson(files: ImageFiles, name: string): Fields {
  const where = `${files.from}:${name}`
  return new Fields(where, parseJson(readSmallFile(files.pathOf(name), maxJsonBytes), where))
}

export const blobName = ({ digest }: Pick<Descriptor, 'digest'>): string => `blobs/sha256/${hexOf(digest)}`

/** The same of a blob, whose bytes must be those that its digest names. */
export function readBlobJson(files: ImageFiles, descriptor: Descriptor): Fields {
  const name = blobName(descriptor)
  const bytes = readSmallFile(files.pathOf(name), maxJsonBytes)
  const found = createHash('sha256').update(bytes).digest('hex')
  if (found !== hexOf(descriptor.digest)) throw wrongDigest(`${files.from}:${name}`, found)
  return new Fields(`${files.from}:${name}`, parseJson(bytes, `${files.from}:${name}`))
}

export const wrongDigest = (what: string, found: string) =>
  new VarveError('CHECKSUM_MISMATCH', `${what} has the SHA-256 ${found}`, {
    remedy: 'fetch or write the image again',
  })

export const descriptorIn = (files: ImageFiles, fields: Fields, name: string): Descriptor =>
  descriptorFromJson(files.from, fields.raw(name), name)
