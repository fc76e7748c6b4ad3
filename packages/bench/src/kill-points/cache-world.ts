// What the kill-point runs of a frame cache work on: one layer in two framed files, of which the second is in
// the cache already.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  blobOfFile,
  type CachedBlob,
  type FramedIndex,
  frameLayer,
  framesOf,
  openFrameCache,
  rangeOfFrames,
  readFramedIndex,
} from '@varve/remote'
import type { Digest } from 'varve'
import { sealLayer } from 'varve/layers'
import { hashFile } from 'varve/testing'

const pageBytes = 4096
const pages = 300
const codecs = ['lz4', 'zstd'] as const
type Name = (typeof codecs)[number]

/** Every seventh page is zero, so frames have several runs. */
const layerPages = (): Buffer =>
  Buffer.concat(
    Array.from({ length: pages }, (_, page) =>
      Buffer.alloc(pageBytes, page % 7 === 0 ? 0 : 1 + (page % 250)),
    ),
  )

export async function makeCacheTemplate(directory: string): Promise<void> {
  mkdirSync(join(directory, 'framed'))
  const path = join(directory, 'framed/layer')
  writeFileSync(path, layerPages())
  const layer = await sealLayer(path, { image: '7'.repeat(32), parent: null })
  for (const codec of codecs) await frameLayer(layer, join(directory, 'framed', codec), { codec })
  await fillCache(directory, 'zstd')
}

/** Brings all frames, one after the other. */
export async function fillCache(directory: string, name: Name): Promise<void> {
  await using cache = await openFrameCache(join(directory, 'cache'))
  const { digest, index } = await framedFile(directory, name)
  await using blob = await cache.open(digest, async () => index)
  await bringAll(blob, directory, name)
}

interface FramedFile {
  readonly digest: Digest
  readonly index: FramedIndex
}

async function framedFile(directory: string, name: Name): Promise<FramedFile> {
  const path = join(directory, 'framed', name)
  await using blob = await blobOfFile(path)
  return { digest: (await hashFile(path)).digest, index: await readFramedIndex(blob) }
}

async function bringAll(blob: CachedBlob, directory: string, name: Name): Promise<void> {
  await using file = await blobOfFile(join(directory, 'framed', name))
  for (let frame = 0; frame < framesOf(blob.index); frame++)
    await blob.need(frame, (it) => file.read(rangeOfFrames(blob.index, it)))
}

/** The cache after a kill: what it says is here is right, the rest comes, and nothing else is left. */
export async function inspectCache(
  directory: string,
): Promise<{ readonly problems: string[]; readonly whole: boolean; readonly givenBack: boolean }> {
  const problems: string[] = []
  const layer = readFileSync(join(directory, 'framed/layer'))
  const found = { whole: false, givenBack: false }
  for (const name of codecs) {
    await using cache = await openFrameCache(join(directory, 'cache'))
    const { digest, index } = await framedFile(directory, name)
    let known = true
    const readIndex = async () => {
      known = false
      return index
    }
    await using blob = await cache.open(digest, readIndex)
    if (name === 'lz4') found.whole = blob.whole
    else found.givenBack = !known
    if (name === 'zstd' && known && !blob.whole) problems.push('a whole blob lost frames')
    for (const { frame, page, count } of pagesHere(blob)) {
      const bytes = Buffer.alloc(count * pageBytes)
      await blob.read(page, bytes)
      if (layer.compare(bytes, 0, bytes.length, page * pageBytes, (page + count) * pageBytes) !== 0)
        problems.push(`${name}: frame ${frame} is said to be here, and page ${page} is wrong`)
    }
    await bringAll(blob, directory, name)
    const { digest: filled } = await hashFile(blob.layerPath)
    if (filled !== index.layerDigest)
      problems.push(`${name}: the layer is ${filled} once all frames are here`)
  }
  const left = readdirSync(join(directory, 'cache')).sort()
  if (String(left) !== 'blobs,writer') problems.push(`the cache has ${left}`)
  return { problems, ...found }
}

/** The runs of pages of the frames that are here. */
function* pagesHere(blob: CachedBlob) {
  for (let frame = 0; frame < Math.ceil(blob.index.placedPages / 128); frame++)
    if (blob.has(frame)) for (const run of blob.places.pagesOf(frame)) yield { frame, ...run }
}
