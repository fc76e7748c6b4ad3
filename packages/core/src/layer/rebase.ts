import { VarveError } from '../errors.js'
import type { PageSet } from '../memory/page-set.js'
import { compareImages } from './compare-images.js'
import type { ExtentMap } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import type { Image } from './image-reader.js'
import { absentSource, forEachRunIn } from './lay-out-pages.js'
import type { ImageId } from './layer-types.js'
import { type ComposedLayer, type ComposeOptions, writeLayer } from './write-layer.js'

/** An image and who it is. */
export interface NamedImage extends Image {
  /** The image's identity. */
  readonly id: ImageId
}

/**
 * Makes a layer that, stacked on another image, gives the same image as before: it holds just the pages that
 * differ. Without a new parent it is a base. Both images are compared page by page first, except where they
 * come from the same file. A new file, whole or not there; the layers are only read. `newParent` is the other
 * image, null for none; `outPath` is the new file.
 */
export async function rebaseLayer(
  image: NamedImage,
  newParent: NamedImage | null,
  outPath: string,
  options: ComposeOptions = {},
): Promise<ComposedLayer> {
  if (newParent?.id === image.id)
    throw new VarveError('INVALID_ARGUMENT', `image ${image.id} cannot be its own parent`)
  const map =
    newParent === null
      ? image.map
      : onlyPages(image.map, await compareImages(image, newParent, { signal: options.signal }))
  const parent = newParent === null ? null : newParent.id
  return writeLayer({ image: image.id, parent, map, files: image.files }, outPath, options)
}

/** What a map says of some pages; the others are absent. */
function onlyPages(map: ExtentMap, pages: PageSet): ExtentMap {
  const builder = new ExtentMapBuilder(2 * pages.starts.length + 1)
  let next = 0
  forEachRunIn(map, pages, (start, count, source, storedPage) => {
    builder.add(start - next, absentSource, next)
    builder.add(count, source, storedPage)
    next = start + count
  })
  builder.add(map.pages - next, absentSource, next)
  return builder.finish()
}
