import { randomBytes } from 'node:crypto'
import type { OpenBucketOptions } from '@varve/remote'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { blobOf, blobSourceSuite } from '../support/blob-source-suite.js'
import { refSourceSuite } from '../support/ref-source-suite.js'
import { bucketPlaces } from './places.js'
import { transferSuite } from './transfer-suite.js'

let server: Awaited<ReturnType<typeof bucketPlaces>>
beforeAll(async () => {
  server = await bucketPlaces()
})
afterAll(() => server[Symbol.asyncDispose]())

const open = async () => ({ source: server.empty(), [Symbol.asyncDispose]: async () => {} })
const openBlobs = (options?: OpenBucketOptions) => async () => ({
  source: server.empty(options).blobs,
  [Symbol.asyncDispose]: async () => {},
})

blobSourceSuite('a bucket', openBlobs())
blobSourceSuite('a bucket, in parts', openBlobs({ maxSinglePutBytes: 5 }))
refSourceSuite('a bucket', open)
transferSuite('a bucket', open)

test('a blob of several parts comes back', async () => {
  const { blobs } = server.empty({ maxSinglePutBytes: 5 })
  const bytes = randomBytes(40 * 2 ** 20)
  const blob = blobOf(bytes)
  await blobs.put(blob, [bytes.subarray(0, 7), bytes.subarray(7)])
  await using opened = await blobs.open(blob.digest)
  expect(bytes.equals(await opened.read({ offsetBytes: 0, lengthBytes: bytes.length }))).toBe(true)
})
