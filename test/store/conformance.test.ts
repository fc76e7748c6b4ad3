import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLocalStore } from 'varve'
import { storeConformance } from '../support/store-conformance/store-conformance.js'

storeConformance('the local store', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-store-'))
  const location = join(directory, 'store')
  return {
    store: await openLocalStore(location, { create: true }),
    reopen: () => openLocalStore(location),
    scratch: directory,
    close: async () => rmSync(directory, { recursive: true }),
  }
})
