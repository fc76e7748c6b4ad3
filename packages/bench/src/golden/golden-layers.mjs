// Writes test/golden/layers again from the built packages:
//   node packages/bench/src/golden/golden-layers.mjs
// To be run only when a new version of the format comes: files of an old version must stay readable for ever.
import { ftruncateSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { composeExtentMap, flatIndex, zeroPage } from 'varve/layers'
import { appendFooter, ChunkChecksums, createFile, extentMapToBytes, writeAt } from 'varve/testing'
import { pageSetFromPages } from 'varve/working-sets'

const directory = fileURLToPath(new URL('../../../../test/golden/layers/', import.meta.url))
const base = '0102030405060708090a0b0c0d0e0f10'
const child = '1112131415161718191a1b1c1d1e1f20'

// Page contents, as the test knows them: a page is filled with the low byte of its number plus one.
const page = (number) => Buffer.alloc(4096, (number + 1) & 0xff)

/** Each layer by its data pages in file order, its zero pages, and how it lies. */
const layers = [
  {
    name: 'flat-base',
    layout: 'flat',
    image: base,
    parent: null,
    pages: 6,
    data: [0, 1, 4],
    zero: [2, 3, 5],
  },
  { name: 'flat-child', layout: 'flat', image: child, parent: base, pages: 6, data: [1, 3], zero: [4] },
  { name: 'packed-child', layout: 'packed', image: child, parent: base, pages: 6, data: [3, 1], zero: [4] },
  { name: 'empty-child', layout: 'packed', image: child, parent: base, pages: 6, data: [], zero: [] },
]

for (const { name, layout, image, parent, pages, data, zero } of layers) {
  const path = join(directory, `${name}.layer`)
  rmSync(path, { force: true })
  const index =
    layout === 'flat'
      ? flatIndex(pages, pageSetFromPages(data), pageSetFromPages(zero))
      : {
          pages,
          starts: Uint32Array.from([...data, ...zero].sort((a, b) => a - b)),
          counts: Uint32Array.from([...data, ...zero], () => 1),
          storedStarts: Uint32Array.from(
            [...data, ...zero].sort((a, b) => a - b),
            (it) => (zero.includes(it) ? zeroPage : data.indexOf(it)),
          ),
        }
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

const map = composeExtentMap([
  flatIndex(6, pageSetFromPages([0, 1, 4]), pageSetFromPages([2, 3, 5])),
  flatIndex(6, pageSetFromPages([1, 3]), pageSetFromPages([4])),
])
writeFileSync(join(directory, 'chain.map'), extentMapToBytes(map, 2))
