import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Descriptor } from 'varve'
import { hashBytes } from 'varve/testing'
import { afterAll, expect, test } from 'vitest'
import { blobOfFile } from './blob-of-file.js'
import { framedDescriptor, toldOfFramed } from './framed-descriptor.js'
import { framedIndexToBytes } from './framed-index-bytes.js'
import { readFramedIndex } from './read-framed-index.js'

const golden = fileURLToPath(
  new URL('../../../../test/golden/framed-layers/wide-child-zstd.framed', import.meta.url),
)
const bytes = readFileSync(golden)
const blob = await blobOfFile(golden)
const index = await readFramedIndex(blob)
afterAll(() => blob[Symbol.asyncDispose]())
const indexed = framedIndexToBytes(index)
const framed = {
  digest: hashBytes(bytes),
  sizeBytes: bytes.length,
  index,
  indexDigest: hashBytes(indexed),
  indexBytes: indexed.length,
}
const layer: Descriptor = {
  mediaType: 'application/vnd.varve.layer.v1',
  digest: index.layerDigest,
  size: 1,
  annotations: { 'dev.varve.image': '11'.repeat(16), 'dev.varve.stored-pages': '300' },
}

test('a descriptor says all that a reader of a framed layer needs, and what it said of the layer', async () => {
  const descriptor = framedDescriptor(framed, layer)
  expect(descriptor).toMatchObject({
    digest: framed.digest,
    size: bytes.length,
    annotations: layer.annotations,
  })
  const { layerDigest, expected } = toldOfFramed(descriptor)
  expect(layerDigest).toBe(index.layerDigest)
  expect(await readFramedIndex(blob, { expected })).toEqual(index)
})

test('a framed layer is not described as another layer', () => {
  expect(() => framedDescriptor(framed, { ...layer, digest: framed.digest })).toThrow('is not the layer in')
})

test('a descriptor that cannot be is refused', () => {
  const right = framedDescriptor(framed, layer)
  const without = (key: string) => ({ ...right.annotations, [key]: '' })
  const wrong: readonly Descriptor[] = [
    { ...right, mediaType: layer.mediaType },
    { mediaType: right.mediaType, digest: right.digest, size: right.size },
    { ...right, annotations: without('dev.varve.layer') },
    { ...right, annotations: without('dev.varve.index') },
    ...['', '0', '127', '-1', '1e3', ' 400', '99999999999', `${bytes.length + 1}`].map((it) => ({
      ...right,
      annotations: { ...right.annotations, 'dev.varve.index-bytes': it },
    })),
  ]
  for (const it of wrong)
    expect(() => toldOfFramed(it)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
})
