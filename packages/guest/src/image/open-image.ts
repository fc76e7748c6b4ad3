import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openRegular } from 'varve/testing'
import { applyLayer } from './apply-layer.js'
import { ContentSpool } from './content-spool.js'
import { debianImage } from './debian-image.js'
import { openDockerArchive } from './docker-archive.js'
import { archivedFiles, folderFiles, type ImageFiles } from './image-files.js'
import { ImageBudget } from './image-limits.js'
import type { ImageSource } from './image-source.js'
import { ImageTree } from './image-tree.js'
import { openOciLayout } from './oci-layout.js'
import type { OpenedImage, OpenImageOptions } from './opened-image.js'
import { pullImage } from './pull-image.js'

/** Finds or fetches an image and reads its documents. Layers are read by `unpackLayer`. */
export async function openImage(source: ImageSource, options: OpenImageOptions): Promise<OpenedImage> {
  switch (source.kind) {
    case 'oci':
      return openOciLayout(folderFiles(source.directory), source.tag)
    case 'oci-archive':
      return openOciLayout(await readArchive(source.file, options), source.tag)
    case 'docker-archive':
      return openDockerArchive(await readArchive(source.file, options), source.name)
    case 'debian':
      return debianImage(source, options)
    case 'registry':
      return pullImage(source.reference, options)
  }
}

/** Takes the files out of an archive as those of a layer are: into the spool, not under their names. */
async function readArchive(file: string, { work, limits, signal }: OpenImageOptions): Promise<ImageFiles> {
  const folder = join(work, 'archive')
  mkdirSync(folder, { mode: 0o700 })
  const spool = new ContentSpool(folder)
  const budget = new ImageBudget(limits)
  const tree = new ImageTree(budget)
  await using opened = await openRegular(file, { what: 'archive', followLinks: true })
  const chunks = opened.handle.createReadStream({ start: 0, highWaterMark: 1024 * 1024, autoClose: false })
  try {
    await applyLayer(chunks, { tree, spool, budget, signal })
  } finally {
    chunks.destroy()
  }
  return archivedFiles(file, tree, (name) => spool.pathOf(name))
}
