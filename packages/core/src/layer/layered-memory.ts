import { dirname, join, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { copyWithHoles } from '../sys/copy-with-holes.js'
import {
  makeDirectory,
  openForWriting,
  removeDirectory,
  syncDirectory,
  syncFile,
  writeAt,
} from '../sys/mutations.js'
import { openRegular } from '../sys/open-regular.js'
import { type ExtentMap, zeroSource } from './extent-map.js'
import { ExtentMapBuilder } from './extent-map-builder.js'
import { flatten } from './flatten.js'
import type { Image } from './image-reader.js'
import type { LayerFile } from './layer-types.js'
import {
  layeredMemoryMap,
  layeredMemoryNames,
  layeredMemoryToBytes,
  readLayeredMemoryTrailer,
  trailerBytes,
} from './layered-memory-bytes.js'
import { readAt } from './memory-file.js'

interface WorkOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

const layeredMemoryName = 'memory'
const layeredStateName = 'state'

/**
 * Makes a directory of an image and its state file that is restored without a store,
 * docs/formats/layered-memory-v1.md. Pages of the first layer are in the memory file, those of the
 * others in copies of them, which share the layers' blocks if the file system can. The directory must
 * not exist; on an error it is removed.
 */
export async function writeLayeredMemory(
  {
    map,
    files,
    statePath,
  }: Image & {
    /** The state file, which is copied into the directory. */
    readonly statePath: string
  },
  directory: string,
  options: WorkOptions = {},
): Promise<void> {
  await makeDirectory(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    throw new VarveError('ALREADY_EXISTS', `${directory} exists and is not overwritten`, { cause: error })
  })
  try {
    const place = (name: string) => join(directory, name)
    const used = [...files.keys()].filter((source) => source > 0 && map.sources.includes(source))
    const names = used.map((_, index) => `layer-${index + 1}`)
    for (const [index, source] of used.entries())
      await copySynced((files[source] as LayerFile).path, place(names[index] as string), options)
    const memory = place(layeredMemoryName)
    const own = relocated(map, (run) => (run.source === 0 ? run : zeros))
    await flatten({ map: own, files }, memory, options)
    {
      await using file = await openForWriting(memory)
      const footerMap = relocated(map, ({ source, storedPage, start, count }) => {
        if (source > 0) return { source: used.indexOf(source) + 1, storedPage }
        return source === zeroSource && count >= leastZeroPages ? zeros : { source: 0, storedPage: start }
      })
      writeAt(file, layeredMemoryToBytes({ names, map: footerMap }), map.pages * pageSizeBytes)
      await syncFile(file)
    }
    await copySynced(statePath, place(layeredStateName), options)
    await syncDirectory(directory)
  } catch (error) {
    await removeDirectory(directory)
    throw error
  }
}

interface Place {
  readonly source: number
  readonly storedPage: number
}

const zeros: Place = { source: zeroSource, storedPage: 0 }
/** Shorter runs of zeros are holes of the memory file: each range is a mapping more. */
const leastZeroPages = 16

function relocated(
  { starts, counts, sources, storedStarts }: ExtentMap,
  placeOf: (run: Place & { readonly start: number; readonly count: number }) => Place,
): ExtentMap {
  const builder = new ExtentMapBuilder(counts.length)
  for (const [run, count] of counts.entries()) {
    const [start, source, storedPage] = [starts[run], sources[run], storedStarts[run]] as [
      number,
      number,
      number,
    ]
    const place = placeOf({ start, count, source, storedPage })
    builder.add(count, place.source, place.storedPage)
  }
  return builder.finish()
}

/**
 * Copies, sharing blocks if the file system can. Never a hard link: the directory's owner may write to its
 * files.
 */
async function copySynced(from: string, to: string, options: WorkOptions): Promise<void> {
  await copyWithHoles(from, to, options)
  await using file = await openForWriting(to)
  await syncFile(file)
}

/**
 * Reads and checks the footer of a layered memory file, which may come from anywhere: the image that it and
 * the files next to it make. The first of `files` is the memory file itself. NOT_FOUND, PATH_INVALID,
 * FORMAT_INVALID, FORMAT_UNSUPPORTED, CHECKSUM_MISMATCH.
 */
export async function readLayeredMemory(path: string): Promise<Image> {
  await using file = await openRegular(path)
  const { handle } = file
  const { size } = file.stat
  const last = Buffer.alloc(trailerBytes)
  if (size >= trailerBytes) await readAt(handle, path, last, size - trailerBytes)
  const trailer = readLayeredMemoryTrailer(last, size, path)
  const { pages } = trailer
  const bytes = Buffer.allocUnsafe(size - pages * pageSizeBytes)
  await readAt(handle, path, bytes, pages * pageSizeBytes)
  const names = layeredMemoryNames(bytes, trailer, path)
  const layers: LayerFile[] = []
  for (const name of names) layers.push(await wholePages(join(dirname(resolve(path)), name)))
  const map = layeredMemoryMap(
    bytes,
    trailer,
    layers.map(({ storedPages }) => storedPages),
    path,
  )
  return { map, files: [{ path: resolve(path), storedPages: pages }, ...layers] }
}

async function wholePages(path: string): Promise<LayerFile> {
  await using file = await openRegular(path)
  return { path, storedPages: Math.floor(file.stat.size / pageSizeBytes) }
}
