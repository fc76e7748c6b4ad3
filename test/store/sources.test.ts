import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLocalStore } from 'varve'
import { MemoryBlobs, MemoryRefs } from 'varve/testing'
import { expect, test } from 'vitest'
import { blobOf, blobSourceSuite, collected } from '../support/blob-source-suite.js'
import { refSourceSuite } from '../support/ref-source-suite.js'

async function localPlace() {
  const directory = mkdtempSync(join(tmpdir(), 'varve-sources-'))
  const store = await openLocalStore(join(directory, 'store'), { create: true })
  return {
    store,
    [Symbol.asyncDispose]: async () => {
      // Whatever a test did, nothing half-made is left.
      expect(readdirSync(store.repository.paths.staging)).toEqual([])
      rmSync(directory, { recursive: true })
    },
  }
}

function memoryPlace() {
  const blobs = new MemoryBlobs()
  return { source: { blobs, refs: new MemoryRefs(blobs) }, [Symbol.asyncDispose]: async () => {} }
}

blobSourceSuite('a local store', async () => {
  const { store, ...place } = await localPlace()
  return { ...place, source: store.blobs }
})
blobSourceSuite('this process’s memory', async () => {
  const place = memoryPlace()
  return { ...place, source: place.source.blobs }
})
refSourceSuite('a local store', async () => {
  const { store, ...place } = await localPlace()
  return { ...place, source: store }
})
refSourceSuite('this process’s memory', async () => memoryPlace())

test('a local store’s tags are its references, and its blobs the blobs of its snapshots', async () => {
  await using place = await localPlace()
  const bytes = Buffer.from('a manifest')
  const { digest, sizeBytes } = blobOf(bytes)
  await place.store.blobs.put({ digest, sizeBytes }, [bytes])
  await place.store.refs.compareAndSet('latest', null, {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size: sizeBytes,
    annotations: {
      'dev.varve.snapshot': 'a'.repeat(32),
      'org.opencontainers.image.created': '2026-01-02T03:04:05.678Z',
    },
  })
  expect(await place.store.list()).toMatchObject([{ id: 'a'.repeat(32), tags: ['latest'] }])
  await place.store.tag('latest', 'again')
  await place.store.removeTag('latest')
  expect((await collected(place.store.refs.list())).map(({ name }) => name)).toEqual(['again'])
})
