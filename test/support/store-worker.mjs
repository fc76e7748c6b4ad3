// One of several processes at work on one store: node store-worker.mjs ROLE STORE SCRATCH SECONDS
// Prints what it did as JSON. Exit status 1 if anything that should hold did not.
import { setTimeout as sleep } from 'node:timers/promises'
import { capture, isImage } from '@varve/bench/testing'
import { openLocalStore } from 'varve'

const [role, location, scratch, seconds] = process.argv.slice(2)
const until = performance.now() + Number(seconds) * 1000
const store = await openLocalStore(location)
const done = {}
const count = (what) => {
  done[what] = (done[what] ?? 0) + 1
}
const known = (error, ...codes) => {
  if (codes.includes(error.code)) return
  throw error
}

/** Tags tell the seeds of a chain: s-1-3-4 is 4 on 3 on 1. */
const seedsOf = (tag) => tag.split('-').slice(1).map(Number)

const roles = {
  /** Captures bases and children on whatever is there; forgets some. */
  capture: async () => {
    const mine = (await store.list()).flatMap(({ tags }) => tags)
    const seed = 1 + Math.floor(Math.random() * 9)
    const parent = Math.random() < 0.7 ? mine[Math.floor(Math.random() * mine.length)] : undefined
    const chain = parent === undefined ? [seed] : [...seedsOf(parent), seed]
    if (chain.length > 5) return
    try {
      const { id } = parent === undefined ? {} : await store.resolve(parent)
      const entry = await capture(store, seed, {
        parent: id,
        tags: [['s', ...chain].join('-')],
        disk: seed % 2 === 0,
      })
      count('captured')
      // What was committed and named is there for every process, at once, unless one removed it since.
      if (!(await store.list()).some((it) => it.id === entry.id)) count('removed again')
    } catch (error) {
      // The parent was removed by another process.
      known(error, 'NOT_FOUND', 'IMAGE_MISMATCH')
    }
  },
  /** Opens what is named and reads it whole. */
  restore: async () => {
    for (const { tags } of await store.list())
      for (const tag of tags)
        try {
          if (!(await isImage(store, tag, seedsOf(tag), scratch)))
            throw new Error(`${tag} is not what was captured`)
          count('restored')
        } catch (error) {
          known(error, 'NOT_FOUND')
          count('gone before it was opened')
        }
  },
  /** Takes names away and collects. */
  gc: async () => {
    const tags = (await store.list()).flatMap((it) => it.tags)
    if (tags.length > 6)
      await store
        .removeSnapshot(tags[Math.floor(Math.random() * tags.length)])
        .catch((error) => known(error, 'NOT_FOUND'))
    const { removedBlobs } = await store.gc()
    count('collected')
    if (removedBlobs > 0) count('collected something')
    await sleep(20)
  },
}

while (performance.now() < until) await roles[role]()
process.stdout.write(JSON.stringify(done))
