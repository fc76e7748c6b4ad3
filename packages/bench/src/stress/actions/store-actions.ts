import { existsSync, linkSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { flattenSnapshot } from 'varve'
import type { Action } from '../action.js'
import { contentTag } from '../content.js'

/**
 * More snapshots than that make every gc slow, and contention rare: from there on workers remove more than
 * they add.
 */
export const manySnapshots = 12

/** One of its tags, or all of them. */
export const remove: Action = async (worker, context) => {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const { tag, entry } = found
  const { op } = context
  const all = worker.random.chance(0.7)
  worker.ledger.write({ event: 'remove', op, ...(all ? { id: entry.id } : { tag }) })
  if (all) await worker.store.removeSnapshot(entry.id)
  else await worker.store.removeTag(tag)
  worker.ledger.write({ event: 'removed', op })
  return { tag, all }
}

/** A further name of the same content, or one of a few names that move from snapshot to snapshot. */
export const tag: Action = async (worker, context) => {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  const moves = worker.random.chance(0.5)
  const name = moves ? `moving-${worker.random.below(3)}` : contentTag(found.content, worker.unique())
  const { op } = context
  worker.ledger.write({ event: 'begin', op })
  const { id } = await worker.store.tag(found.tag, name)
  worker.ledger.write({ event: 'named', op, id, tags: [name] })
  return { tag: found.tag, name }
}

export const gc: Action = async (worker) => {
  const { removedBlobs, removedSnapshots, removedStaging } = await worker.store.gc()
  return { removedBlobs, removedSnapshots: removedSnapshots.length, removedStaging }
}

export const flatten: Action = async (worker, context) => {
  const found = await worker.pickSnapshot(context)
  if (found === undefined) return { skipped: 'no snapshot' }
  context.note({ tag: found.tag })
  await using snapshot = await worker.store.open(found.tag)
  const { origin } = await flattenSnapshot(snapshot)
  return { origin }
}

/** Each worker keeps the archives of its last two exports. */
export const exportSome: Action = async (worker, context) => {
  const [one, two] = [await worker.pickSnapshot(context), await worker.pickSnapshot(context)]
  if (one === undefined || two === undefined) return { skipped: 'no snapshot' }
  const path = join(worker.run.exchange, `${worker.id}-${worker.random.below(2)}.tar`)
  rmSync(path, { force: true })
  const refs = [...new Set([one.entry.id, two.entry.id])]
  context.note({ refs: [one.tag, two.tag] })
  const { bytes } = await worker.store.exportTo(refs, path)
  return { bytes }
}

/** Imports through its own link: the exporter may replace the archive meanwhile. */
export const importSome: Action = async (worker, context) => {
  const archives = readdirSync(worker.run.exchange).filter((name) => /^w[0-9-]+\.tar$/.test(name))
  const name = worker.random.pick(archives)
  if (name === undefined) return { skipped: 'no archive' }
  const own = join(worker.run.exchange, `import-${worker.unique()}`)
  try {
    linkSync(join(worker.run.exchange, name), own)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { skipped: 'replaced' }
    throw error
  }
  try {
    const { op } = context
    worker.ledger.write({ event: 'begin', op })
    const entries = await worker.store.importFrom(own)
    for (const { id, tags } of entries) worker.ledger.write({ event: 'named', op, id, tags })
    return { archive: name, snapshots: entries.length }
  } finally {
    if (existsSync(own)) rmSync(own)
  }
}
