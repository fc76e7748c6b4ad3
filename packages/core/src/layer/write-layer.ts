import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { syncFile } from '../sys/mutations.js'
import { ChunkChecksums } from './chunk-checksums.js'
import { type CopyReport, copyPages } from './copy-pages.js'
import { countDataPages } from './copy-windows.js'
import { type ExtentMap, zeroSource } from './extent-map.js'
import { type ImageLayers, openImageLayers } from './image-reader.js'
import { absentSource, layOutPages } from './lay-out-pages.js'
import { appendFooter, verifyLayer } from './layer-file.js'
import { countPages } from './layer-index.js'
import type { ImageId, Layer, LayerFile, LayerLayout, PackOrder } from './layer-types.js'
import { readPages } from './memory-file.js'
import { publishFile } from './publish-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

export interface ComposeOptions {
  /** Default: flat for a base, which Firecracker then loads as it is; packed for a child. */
  readonly layout?: LayerLayout | undefined
  /**
   * Whether the pages of the layers that are read are compared with their checksums first, which reads them once more.
   * Default: true. Without it, damage that is in a layer gets right checksums in the new one.
   */
  readonly verify?: boolean | undefined
  readonly signal?: AbortSignal | undefined
  /** Of the pages to verify, copy and checksum, how many are done. */
  readonly onProgress?: ((donePages: number, totalPages: number) => void) | undefined
}

/** A layer that was made of others, and how its pages came into its file. */
export interface ComposedLayer extends Layer {
  readonly copied: CopyReport
}

export interface NewLayer {
  readonly image: ImageId
  readonly parent: ImageId | null
  /** What the layer is to say of each page: from a file, zero (`zeroSource`) or nothing (`absentSource`). */
  readonly map: ExtentMap
  /** The sources that `map` names. Those that are layers can be verified. */
  readonly files: readonly (LayerFile | Layer)[]
  readonly order?: PackOrder | undefined
}

/**
 * Writes a new layer file from pages of others: squash, rebase and pack are this. The file (0600) is whole or not there
 * at all; the sources are only read.
 */
export async function writeLayer(
  { image, parent, map, files, order }: NewLayer,
  outPath: string,
  options: ComposeOptions = {},
): Promise<ComposedLayer> {
  const { signal, verify = true, layout = parent === null ? 'flat' : 'packed' } = options
  throwIfAborted(signal, outPath)
  if (parent === null && map.sources.includes(absentSource))
    throw new VarveError('INVALID_ARGUMENT', 'a layer without a parent leaves pages absent')
  const { index, content } = layOutPages(map, layout, order)
  const used = new Set(content.sources)
  const toVerify = verify ? files.filter((file, source) => used.has(source) && 'checksums' in file) : []
  const progress = progressOf(toVerify as Layer[], content, options)
  await using sources = await openImageLayers({ map: content, files })
  // Awaited here: the sources close when this function returns.
  return await publishFile(outPath, async (file) => {
    for (const layer of toVerify as Layer[])
      await progress.step((onProgress) => verifyLayer(layer, { signal, onProgress }))
    const copied = await progress.step((onProgress) =>
      copyPages(content, sources, file, { signal, onProgress }),
    )
    // The disk is busy with the pages while this thread computes checksums.
    const [checksums] = await settleBoth(
      progress.step((onProgress) => checksumSources(content, sources, { signal, onProgress })),
      syncFile(file),
    )
    throwIfAborted(signal, outPath)
    const layer = appendFooter(file, { layout, image, parent, index, checksums })
    return { ...layer, path: outPath, copied }
  })
}

/** As Promise.all, but waits for both also when one fails: the file must not be closed under the other. */
async function settleBoth<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b])
  return Promise.all([a, b])
}

/** 2 MiB: one chunk. */
const bufferPages = 512

/**
 * The checksums of the pages as the sources hold them, not as they were copied: so a copy that went wrong does not
 * verify, and a clone, whose pages are in no cache yet, is not read from the disk.
 */
async function checksumSources(
  content: ExtentMap,
  sources: ImageLayers,
  { signal, onProgress }: Pick<ComposeOptions, 'signal' | 'onProgress'>,
): Promise<Uint32Array> {
  const checksums = new ChunkChecksums()
  const buffer = Buffer.allocUnsafe(bufferPages * pageSizeBytes)
  const takeTurns = turnTaker()
  const total = countDataPages(content)
  let filled = 0
  let done = 0
  const flush = async () => {
    throwIfAborted(signal, 'a new layer')
    checksums.add(buffer.subarray(0, filled * pageSizeBytes))
    done += filled
    onProgress?.(done, total)
    await takeTurns(filled)
    filled = 0
  }
  for (let i = 0; i < content.starts.length; i++) {
    const source = content.sources[i] as number
    if (source === zeroSource) continue
    const count = content.counts[i] as number
    for (let offset = 0; offset < count; ) {
      const pages = Math.min(count - offset, bufferPages - filled)
      await readPages(
        sources.layer(source),
        (content.sourcePages[i] as number) + offset,
        buffer.subarray(filled * pageSizeBytes, (filled + pages) * pageSizeBytes),
      )
      offset += pages
      filled += pages
      if (filled === bufferPages) await flush()
    }
  }
  await flush()
  return checksums.finish()
}

/** One count over the steps: every data page is copied and checksummed, those of verified layers read before. */
function progressOf(layers: readonly Layer[], content: ExtentMap, { onProgress }: ComposeOptions) {
  const pages = countDataPages(content)
  const total = layers.reduce((sum, { index }) => sum + countPages(index).data, 2 * pages)
  let before = 0
  return {
    step: async <T>(work: (onProgress: (done: number) => void) => Promise<T>): Promise<T> => {
      let reached = 0
      const result = await work((done) => {
        reached = done
        onProgress?.(before + done, total)
      })
      before += reached
      return result
    },
  }
}
