import type { OpenRegistryOptions } from '@varve/remote'
import { afterAll, beforeAll } from 'vitest'
import { blobSourceSuite } from '../support/blob-source-suite.js'
import { refSourceSuite } from '../support/ref-source-suite.js'
import { registryPlaces } from './places.js'
import { transferSuite } from './transfer-suite.js'

let server: Awaited<ReturnType<typeof registryPlaces>>
let keeper: Awaited<ReturnType<typeof registryPlaces>>
beforeAll(async () => {
  server = await registryPlaces()
  keeper = await registryPlaces({ deletes: false })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await keeper[Symbol.asyncDispose]()
})

const open = async () => ({ source: server.empty(), [Symbol.asyncDispose]: async () => {} })
const openKeeper = async () => ({ source: keeper.empty(), [Symbol.asyncDispose]: async () => {} })
const openBlobs = (options?: OpenRegistryOptions) => async () => ({
  source: server.empty(options).blobs,
  [Symbol.asyncDispose]: async () => {},
})

blobSourceSuite('a registry', openBlobs(), { listsOnlyNamed: true })
blobSourceSuite('a registry, in chunks', openBlobs({ chunkBytes: 1_000_003 }), { listsOnlyNamed: true })
refSourceSuite('a registry', open)
transferSuite('a registry', open)
refSourceSuite('a registry that deletes nothing', openKeeper)
transferSuite('a registry that deletes nothing', openKeeper)
