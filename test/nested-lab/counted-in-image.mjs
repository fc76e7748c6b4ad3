// Reads the counted pages of memory-workers.py in a snapshot: what they hold at that instant, before a
// restored guest goes on. Gives [worker, place, number] of each; test/support/counted-pages.ts judges
// them.
import { open } from 'node:fs/promises'
import { lookupPage } from 'varve/layers'

const pageBytes = 4096
const counted = Buffer.from('counted!').readBigUInt64LE()

/** `places`: their pages in the image. The guest must have one region of memory. */
export async function countedInImage(store, ref, places) {
  const snapshot = await store.open(ref)
  const layers = await Promise.all(snapshot.files.map(({ path }) => open(path)))
  try {
    const found = []
    const words = Buffer.alloc(32)
    for (const page of places) {
      const { source, storedPage } = lookupPage(snapshot.map, page)
      await layers[source]?.read(words, 0, words.length, storedPage * pageBytes)
      if (words.readBigUInt64LE() !== counted) throw new Error(`page ${page} of ${ref} is no counted page`)
      found.push([8, 16, 24].map((at) => Number(words.readBigUInt64LE(at))))
    }
    return found
  } finally {
    for (const layer of layers) await layer.close()
    await snapshot[Symbol.asyncDispose]()
  }
}
