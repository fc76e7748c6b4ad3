import { VarveError } from '../errors.js'
import { pageSetFromRuns } from '../memory/make-page-set.js'
import type { PageRun } from '../memory/page-set.js'
import { syncFile } from '../sys/mutations.js'
import { type CopyReport, copyPages } from './copy-pages.js'
import { countDataPages } from './copy-windows.js'
import { type ExtentMap, zeroSource } from './extent-map.js'
import { type ImageLayers, openImageLayers } from './image-reader.js'
import { absentSource, layOutPages } from './lay-out-pages.js'
import { appendFooter, verifyLayer } from './layer-file.js'
import { storedRuns } from './layer-index.js'
import type { ImageId, Layer, LayerFile, LayerLayout, PackOrder } from './layer-types.js'
import { ChunkBuilder, PageChecksums } from './page-checksums.js'
import { publishFile } from './publish-file.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** Options of `squashLayers`, `rebaseLayer` and `packLayer`. */
export interface ComposeOptions {
  /** Default: flat for a base, which Firecracker then loads as it is; packed for a child. */
  readonly layout?: LayerLayout | undefined
  /**
   * Whether the layers that pages come from are compared with their checksums, which reads their other pages
   * too. Default: true. Without it, damage that is in a layer gets right checksums in the new one.
   */
  readonly verify?: boolean | undefined
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Of the pages to copy and to checksum, how many are done. */
  readonly onProgress?: ((donePages: number, totalPages: number) => void) | undefined
}

/** A layer that was made of others, and how its pages came into its file. */
export interface ComposedLayer extends Layer {
  /** How its data came into the file. */
  readonly copied: CopyReport
}

interface NewLayer {
  readonly image: ImageId
  readonly parent: ImageId | null
  /** What the layer is to say of each page: from a file, zero (`zeroSource`) or nothing (`absentSource`). */
  readonly map: ExtentMap
  /** The sources that `map` names. Those that are layers can be verified. */
  readonly files: readonly (LayerFile | Layer)[]
  readonly order?: PackOrder | undefined
}

/**
 * Writes a new layer file from pages of others: squash, rebase and pack are this. The file (0600) is whole or
 * not there at all; the sources are only read.
 */
export async function writeLayer(
  { image, parent, map, files, order }: NewLayer,
  outPath: string,
  options: ComposeOptions = {},
): Promise<ComposedLayer> {
  const { signal, onProgress, verify = true, layout = parent === null ? 'flat' : 'packed' } = options
  throwIfAborted(signal, outPath)
  if (parent === null && map.sources.includes(absentSource))
    throw new VarveError('INVALID_ARGUMENT', 'a layer without a parent leaves pages absent')
  const { index, content } = layOutPages(map, layout, order)
  await using sources = await openImageLayers({ map: content, files })
  const checksums = new SourceChecksums(content, files, verify)
  const dataPages = countDataPages(content)
  const totalPages = dataPages + checksums.pages
  // Awaited here: the sources close when this function returns.
  return await publishFile(outPath, async (file) => {
    const copied = await copyPages(content, sources, file, {
      signal,
      onProgress: (done) => onProgress?.(done, totalPages),
    })
    // The disk is busy with the pages while this thread computes checksums.
    await settleBoth(
      checksums.read(sources, {
        signal,
        onProgress: (done) => onProgress?.(dataPages + done, totalPages),
      }),
      syncFile(file),
    )
    throwIfAborted(signal, outPath)
    const footer = { layout, image, parent, index, checksums: checksums.ofContent() }
    return { ...appendFooter(file, footer), path: outPath, copied }
  })
}

/** As Promise.all, but waits for both also when one fails: the file must not be closed under the other. */
async function settleBoth(a: Promise<void>, b: Promise<void>): Promise<void> {
  await Promise.allSettled([a, b])
  await Promise.all([a, b])
}

interface SourceProgress {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal: AbortSignal | undefined
  readonly onProgress: (donePages: number) => void
}

/**
 * The checksums of the pages as the sources hold them, not as they were copied: so a copy that went wrong
 * does not verify, and a clone, whose pages are in no cache yet, is not read from the disk. Of a layer that
 * is verified all data pages are read, of another source those that are needed.
 */
class SourceChecksums {
  /** Pages to read. */
  readonly pages: number
  readonly #content: ExtentMap
  readonly #sources = new Map<
    number,
    { readonly checksums: PageChecksums; readonly layer: Layer | undefined }
  >()

  constructor(content: ExtentMap, files: readonly (LayerFile | Layer)[], verify: boolean) {
    this.#content = content
    let pages = 0
    for (const source of new Set(content.sources)) {
      if (source === zeroSource) continue
      const file = files[source]
      const layer = verify && file !== undefined && 'checksums' in file ? file : undefined
      const set = pageSetFromRuns(layer === undefined ? piecesOf(content, source) : placesOf(layer))
      this.#sources.set(source, { checksums: new PageChecksums(set), layer })
      pages += set.pages
    }
    this.pages = pages
  }

  async read(files: ImageLayers, { signal, onProgress }: SourceProgress): Promise<void> {
    let done = 0
    const onPages = (pages: number) => {
      done += pages
      onProgress(done)
    }
    for (const [source, { checksums, layer }] of this.#sources) {
      await checksums.read(files.layer(source), { signal, onPages })
      if (layer === undefined) continue
      const found = checksums.chunks()
      if (layer.checksums.every((checksum, chunk) => checksum === found[chunk])) continue
      // This says which place is damaged.
      await verifyLayer(layer, { signal })
      throw new VarveError('CHECKSUM_MISMATCH', `layer ${layer.path} changed while it was read`, {
        details: { path: layer.path },
      })
    }
  }

  /** One for each chunk of the new layer. */
  ofContent(): Uint32Array {
    const { starts, counts, sources, storedStarts } = this.#content
    const chunks = new ChunkBuilder()
    for (let i = 0; i < starts.length; i++)
      this.#sources
        .get(sources[i] as number)
        ?.checksums.addTo(chunks, storedStarts[i] as number, counts[i] as number)
    return chunks.finish()
  }
}

function placesOf(layer: Layer): PageRun[] {
  return storedRuns(layer.index).map(({ storedPage, count }) => ({ start: storedPage, count }))
}

function piecesOf({ starts, counts, sources, storedStarts }: ExtentMap, source: number): PageRun[] {
  const runs: PageRun[] = []
  for (let i = 0; i < starts.length; i++)
    if (sources[i] === source) runs.push({ start: storedStarts[i] as number, count: counts[i] as number })
  return runs
}
