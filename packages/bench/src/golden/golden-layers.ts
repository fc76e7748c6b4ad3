// `node scripts/bench.mjs golden-layers`: writes test/golden/layers again. To be run only when a new version
// of the format comes: files of an old version must stay readable for ever.
import { ftruncateSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  composeExtentMap,
  flatIndex,
  type ImageId,
  type LayerIndex,
  type LayerLayout,
  zeroPage,
} from 'varve/layers'
import { appendFooter, ChunkChecksums, createFile, extentMapToBytes, writeAt } from 'varve/testing'
import { pageSetFromPages } from 'varve/working-sets'
import { inCheckout } from '../common/checkout.js'

const base = '0102030405060708090a0b0c0d0e0f10' as ImageId
const child = '1112131415161718191a1b1c1d1e1f20' as ImageId
const pages = 6

interface GoldenLayer {
  readonly name: string
  readonly layout: LayerLayout
  readonly image: ImageId
  readonly parent: ImageId | null
  /** In file order. */
  readonly data: readonly number[]
  readonly zero: readonly number[]
}

/** Each layer by its data pages in file order, its zero pages, and how it lies. */
const layers: readonly GoldenLayer[] = [
  { name: 'flat-base', layout: 'flat', image: base, parent: null, data: [0, 1, 4], zero: [2, 3, 5] },
  { name: 'flat-child', layout: 'flat', image: child, parent: base, data: [1, 3], zero: [4] },
  { name: 'packed-child', layout: 'packed', image: child, parent: base, data: [3, 1], zero: [4] },
  { name: 'empty-child', layout: 'packed', image: child, parent: base, data: [], zero: [] },
]

/** Page contents, as the test knows them: a page is filled with the low byte of its number plus one. */
const page = (number: number): Buffer => Buffer.alloc(4096, (number + 1) & 0xff)

const flat = (data: readonly number[], zero: readonly number[]): LayerIndex =>
  flatIndex(pages, pageSetFromPages(data), pageSetFromPages(zero))

/** A run for each page, stored in the order of `data`. */
function packed(data: readonly number[], zero: readonly number[]): LayerIndex {
  const starts = Uint32Array.from([...data, ...zero]).sort()
  return {
    pages,
    starts,
    counts: starts.map(() => 1),
    storedStarts: starts.map((it) => (zero.includes(it) ? zeroPage : data.indexOf(it))),
  }
}

export async function goldenLayers(): Promise<void> {
  const directory = inCheckout('test/golden/layers')
  for (const { name, layout, image, parent, data, zero } of layers) {
    const path = join(directory, `${name}.layer`)
    rmSync(path, { force: true })
    const index = layout === 'flat' ? flat(data, zero) : packed(data, zero)
    const file = await createFile(path)
    ftruncateSync(file.handle.fd, (layout === 'flat' ? pages : data.length) * 4096)
    const checksums = new ChunkChecksums()
    for (const [place, number] of data.entries()) {
      writeAt(file, page(number), (layout === 'flat' ? number : place) * 4096)
      checksums.add(page(number))
    }
    appendFooter(file, { layout, image, parent, index, checksums: checksums.finish() })
    await file.handle.close()
  }
  const map = composeExtentMap([flat([0, 1, 4], [2, 3, 5]), flat([1, 3], [4])])
  writeFileSync(join(directory, 'chain.map'), extentMapToBytes(map, 2))
}
