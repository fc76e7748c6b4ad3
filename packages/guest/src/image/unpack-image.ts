import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { ContentSpool } from './content-spool.js'
import { ImageBudget, type ImageLimits } from './image-limits.js'
import { ImageTree } from './image-tree.js'
import type { OpenedImage } from './opened-image.js'
import { unpackLayer } from './unpack-layer.js'

export interface UnpackedImage {
  readonly tree: ImageTree
  readonly spool: ContentSpool
}

/** Where every Linux guest mounts something. */
const mountPoints = ['dev', 'proc', 'run', 'sys', 'tmp']

/** Puts an image's layers over each other. Contents go into the folder `work`, which goes with the build. */
export async function unpackImage(
  { layers }: OpenedImage,
  {
    work,
    limits,
    signal,
    onProgress,
  }: {
    readonly work: string
    readonly limits: ImageLimits
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: ((message: string) => void) | undefined
  },
): Promise<UnpackedImage> {
  const folder = join(work, 'contents')
  mkdirSync(folder, { mode: 0o700 })
  const spool = new ContentSpool(folder)
  const budget = new ImageBudget(limits)
  const tree = new ImageTree(budget)
  for (const [index, layer] of layers.entries()) {
    onProgress?.(`reading layer ${index + 1} of ${layers.length}`)
    await unpackLayer(layer, { tree, spool, budget, signal })
  }
  if (tree.root.entries.size === 0)
    throw new VarveError('FORMAT_INVALID', 'the image has no files', {
      remedy: 'a guest needs a root file system; use an image that has one',
    })
  for (const name of mountPoints) if (tree.find(name) === undefined) tree.directory(name)
  return { tree, spool }
}
