import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type LocalStore, openLocalStore } from 'varve'
import { inspectCache } from './cache-world.js'
import type { Operation } from './operations.js'
import { isImage, possible, promised } from './world.js'

export interface Inspection {
  readonly problems: readonly string[]
  /** Whether the operation took place. */
  readonly done: boolean
}

/** The store after a kill: it opens, nothing is wrong or lost, and gc leaves nothing that fsck could name. */
export async function inspect(what: string, directory: string, operation: Operation): Promise<Inspection> {
  const found: string[] = []
  const check = (ok: boolean, detail: string) => {
    if (!ok) found.push(`${what}: ${detail}`)
  }
  let done = false
  try {
    if (operation === 'create') {
      done = existsSync(join(directory, 'fresh/oci-layout'))
      const made = await openLocalStore(join(directory, 'fresh'), { create: true })
      check((await made.list()).length === 0, 'a new store is not empty')
      await made.gc()
      check((await made.fsck()).findings.length === 0, 'fsck of a new store finds something')
    }
    const store = await openLocalStore(join(directory, 'store'))
    const before = await store.fsck()
    for (const { severity, message } of before.findings)
      if (severity === 'error') check(false, `fsck: ${message}`)
    done ||= await isDone(store, operation, directory)
    if (inCache(operation)) {
      const found = await inspectCache(directory)
      for (const problem of found.problems) check(false, problem)
      done = operation === 'fill a frame cache' ? found.whole : found.givenBack
    }
    for (const [tag, seeds] of Object.entries(promised))
      check(await isImage(store, tag, seeds, directory), `${tag} is not what it was`)
    for (const tag of (await store.list()).flatMap(({ tags }) => tags)) {
      if (tag in promised) continue
      const seeds = possible[tag]
      check(seeds !== undefined, `there is a tag ${tag}`)
      if (seeds !== undefined) check(await isImage(store, tag, seeds, directory), `${tag} is wrong`)
    }
    const named = (await store.list()).filter(({ tags }) => tags.length > 0).map(({ id }) => id)
    await store.gc()
    const kept = (await store.list()).map(({ id }) => id)
    check(String(named) === String(kept), `gc kept ${kept}, named were ${named}`)
    const after = await store.fsck()
    for (const { message, path } of after.findings) check(false, `fsck after gc: ${message} (${path})`)
  } catch (error) {
    check(false, (error as Error).stack ?? String(error))
  }
  return { problems: found, done }
}

const inCache = (operation: Operation): boolean =>
  operation === 'fill a frame cache' || operation === 'give back a cached blob'

/** Whether the operation took place, as a user would see it. */
async function isDone(store: LocalStore, operation: Operation, directory: string): Promise<boolean> {
  const has = async (ref: string) => (await store.list()).some(({ tags }) => tags.includes(ref))
  const layers = async (ref: string) => (await store.describe(ref)).layers
  switch (operation) {
    case 'capture a base':
      return has('new')
    case 'capture a child':
      return has('child')
    case 'move a tag':
      return has('moved')
    case 'squash':
      return (await layers('two')).length === 2
    case 'pack':
      return (await layers('base'))[0]?.annotations?.['dev.varve.stored-pages'] !== '64'
    case 'flatten':
      return existsSync(join(directory, 'store/varve/flat', (await store.resolve('one')).id))
    case 'gc':
      return (await store.list()).length === 4
    case 'export':
      return existsSync(join(directory, 'out.tar'))
    case 'import':
      return has('foreign-child')
    default:
      return false
  }
}
