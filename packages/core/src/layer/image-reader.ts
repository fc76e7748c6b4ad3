import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { dataExtents } from '../sys/extents.js'
import { type ExtentMap, lookupPage, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import type { LayerFile } from './layer-types.js'
import { type MemoryFile, openMemoryFile, openStoredPages, readPages } from './memory-file.js'

/** Layers and the map that composes them; `map.sources` are places in `files`. */
export interface Image {
  /** Where each page of the image comes from. */
  readonly map: ExtentMap
  /** The layers' files, base first. */
  readonly files: readonly LayerFile[]
}

/** An image, or a plain flat memory file by its path. */
export type ImageSource = string | Image

export interface OpenImage extends ImageLayers {
  readonly map: ExtentMap
  readonly pages: number
  /** Fills `buffer` (whole pages, at most to the end of the image) from `page` on. */
  read(page: number, buffer: Buffer): Promise<void>
}

/**
 * Opens what an image's pages come from. In a plain memory file a hole is a run of zeros, and is not read.
 */
export async function openImage(source: ImageSource): Promise<OpenImage> {
  if (typeof source !== 'string') return openWith(source.map, await openImageLayers(source))
  const file = await openMemoryFile(source)
  return openWith(mapOfHoles(file), {
    layer: () => file,
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  })
}

function openWith(map: ExtentMap, layers: ImageLayers): OpenImage {
  return {
    ...layers,
    map,
    pages: map.pages,
    read: async (page, buffer) => {
      const end = page + buffer.length / pageSizeBytes
      for (let next = page; next < end; ) {
        const { source, storedPage, count } = lookupPage(map, next)
        const pages = Math.min(count, end - next)
        const part = buffer.subarray((next - page) * pageSizeBytes, (next - page + pages) * pageSizeBytes)
        if (source === zeroSource) part.fill(0)
        else await readPages(layers.layer(source), storedPage, part)
        next += pages
      }
    },
  }
}

function mapOfHoles(file: MemoryFile): ExtentMap {
  const builder = new ExtentMapBuilder(16)
  let next = 0
  for (const { startBytes, endBytes } of dataExtents(file.handle.fd, file.pages * pageSizeBytes)) {
    const start = Math.max(next, Math.floor(startBytes / pageSizeBytes))
    const end = Math.ceil(endBytes / pageSizeBytes)
    builder.add(start - next, zeroSource, 0)
    builder.add(end - start, 0, start)
    next = end
  }
  builder.add(file.pages - next, zeroSource, 0)
  return builder.finish()
}

export interface ImageLayers extends AsyncDisposable {
  layer(index: number): MemoryFile
}

/**
 * Opens the layer files that the map takes pages from, each with the size its
 * layer says; the others stay closed.
 */
export async function openImageLayers({ map, files: layers }: Image): Promise<ImageLayers> {
  const files = new Map<number, MemoryFile>()
  const close = async () => {
    await Promise.all([...files.values()].map((file) => file[Symbol.asyncDispose]()))
  }
  try {
    for (const index of new Set(map.sources)) {
      if (index === zeroSource) continue
      const layer = layers[index]
      if (layer === undefined)
        throw new VarveError(
          'IMAGE_MISMATCH',
          `the image names layer ${index}, but there are ${layers.length}`,
        )
      files.set(index, await openStoredPages(layer))
    }
    assertWithinFiles(map, files)
  } catch (error) {
    await close()
    throw error
  }
  return { layer: (index) => files.get(index) as MemoryFile, [Symbol.asyncDispose]: close }
}

function assertWithinFiles(map: ExtentMap, files: ReadonlyMap<number, MemoryFile>): void {
  for (let i = 0; i < map.starts.length; i++) {
    const file = files.get(map.sources[i] as number)
    if (file !== undefined && (map.storedStarts[i] as number) + (map.counts[i] as number) > file.pages)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `the image reaches behind the ${file.pages} pages of ${file.path}`,
      )
  }
}
