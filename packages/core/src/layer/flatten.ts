import { type CopyOptions, type CopyReport, copyPages } from './copy-pages.js'
import { countDataPages } from './copy-windows.js'
import { type Image, openImageLayers } from './image-reader.js'
import { publishFile } from './publish-file.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** Options of `flatten`. */
export interface FlattenOptions extends CopyOptions {}

/** A flat memory file, and how it was made. */
export interface FlattenResult extends CopyReport {
  /** The new file. */
  readonly path: string
  /** Pages of the image: the file's size divided by 4,096. */
  readonly pages: number
  /** Pages with data in the file; the rest are holes. */
  readonly dataPages: number
}

/**
 * Writes an image as one flat, sparse memory file that Firecracker's File backend takes: page p at p × 4096,
 * zero runs as holes. A new file (0600), whole or not there at all; the layers are only read.
 */
export async function flatten(
  image: Image,
  outPath: string,
  options: FlattenOptions = {},
): Promise<FlattenResult> {
  throwIfAborted(options.signal, outPath)
  await using files = await openImageLayers(image)
  // Awaited here: the layer files close when this function returns.
  const report = await publishFile(outPath, (out) => copyPages(image.map, files, out, options))
  return { path: outPath, pages: image.map.pages, dataPages: countDataPages(image.map), ...report }
}
