// Makes derived files of one snapshot when told to: node derived-worker.mjs STORE REF, by messages of its
// parent. Answers each 'go' with what it found at the path that it was given, or with the error.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { flattenSnapshot, openLocalStore } from 'varve'

const [location, ref] = process.argv.slice(2)
const store = await openLocalStore(location)

async function round() {
  const snapshot = await store.open(ref)
  try {
    const { path, origin } = await flattenSnapshot(snapshot)
    return { origin, sha256: createHash('sha256').update(readFileSync(path)).digest('hex') }
  } catch (error) {
    return { error: `${error.code}: ${error.message}` }
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}

process.on('message', () => round().then((answer) => process.send(answer)))
process.on('disconnect', () => process.exit())
process.send('ready')
