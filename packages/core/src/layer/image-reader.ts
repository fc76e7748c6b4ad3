import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { type ExtentMap, lookupPage, zeroSource } from './extent-map.js'
import type { LayerFile } from './layer-types.js'
import { type MemoryFile, openMemoryFile, openStoredPages, readPages } from './memory-file.js'

/** Layers and the map that composes them; `map.sources` are places in `files`. */
export interface Image {
  readonly map: ExtentMap
  readonly files: readonly LayerFile[]
}

/** An image, or a plain flat memory file by its path. */
export type ImageSource = string | Image

export interface ImageReader extends AsyncDisposable {
  readonly pages: number
  /** Fills `buffer` (whole pages, at most to the end of the image) from `page` on. */
  read(page: number, buffer: Buffer): Promise<void>
}

export async function openImage(source: ImageSource): Promise<ImageReader> {
  if (typeof source === 'string') {
    const file = await openMemoryFile(source)
    return {
      pages: file.pages,
      read: (page, buffer) => readPages(file, page, buffer),
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    }
  }
  const { map } = source
  const files = await openImageLayers(source)
  return {
    pages: map.pages,
    read: async (page, buffer) => {
      const end = page + buffer.length / pageSizeBytes
      for (let next = page; next < end; ) {
        const { source: layer, sourcePage, count } = lookupPage(map, next)
        const pages = Math.min(count, end - next)
        const part = buffer.subarray((next - page) * pageSizeBytes, (next - page + pages) * pageSizeBytes)
        if (layer === zeroSource) part.fill(0)
        else await readPages(files.layer(layer), sourcePage, part)
        next += pages
      }
    },
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  }
}

export interface ImageLayers extends AsyncDisposable {
  layer(index: number): MemoryFile
}

/** Opens the layer files that the map takes pages from, each with the size its layer says; the others stay closed. */
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
    if (file !== undefined && (map.sourcePages[i] as number) + (map.counts[i] as number) > file.pages)
      throw new VarveError(
        'IMAGE_MISMATCH',
        `the image reaches behind the ${file.pages} pages of ${file.path}`,
      )
  }
}
