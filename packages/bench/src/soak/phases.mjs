import { join } from 'node:path'
import { bootMicroGuest, MicroConsole } from '@varve/lab'
import { captureSnapshot, restoreMachine } from 'varve'
import { readLayer, squashLayers } from 'varve/layers'
import { disposing } from '../stress/disposing.mjs'

const pattern = { start: 600, count: 40, order: 3 }
const other = { start: 1200, count: 40, order: 3 }

/** A base and a child, so that the file engine makes a flat file and the others have two layers. */
export async function makeSnapshot(world) {
  const { binary, runtime: runtimeDirectory, store } = world
  const { machine, console } = await bootMicroGuest({ binary, runtimeDirectory, memoryMib: 16 })
  await disposing(machine, () =>
    disposing(console, async () => {
      await console.fill(pattern, 1)
      const paused = await machine.pause()
      await captureSnapshot(paused, { store: store, tags: ['base'] })
      const running = await paused.resume()
      await console.fill(other, 2)
      await captureSnapshot(await running.pause(), { store, tags: ['child'], parent: 'base' })
    }),
  )
}

/** Every tenth guest checks its memory. */
async function restoreAndStop({ binary, runtime: runtimeDirectory, store }, ref, engine, number, check) {
  const { machine, pageServer } = await restoreMachine(store, ref, { engine, binary, runtimeDirectory })
  await disposing(machine, async () => {
    if (number % 10 === 0) await disposing(MicroConsole.attach(machine.paths), check)
  })
  return pageServer?.identity
}

async function checkBoth(console) {
  await console.verify(pattern, 1)
  await console.verify(other, 2)
}

/** Restores and stops by one process, without a page server. */
export async function restores(world, count, sample) {
  const engines = ['file', 'mapped']
  for (let done = 1; done <= count; done++) {
    await restoreAndStop(world, 'child', engines[done % 2], done, checkBoth)
    await sample(done, { self: process.pid })
  }
}

/** The same by one page server; it must be the same process at the end. */
export async function served(world, count, sample) {
  let first
  for (let done = 1; done <= count; done++) {
    const server = await restoreAndStop(world, 'child', 'paged', done, checkBoth)
    first ??= server
    if (server.pid !== first.pid)
      throw new Error(`restore ${done} has page server ${server.pid}, not ${first.pid}`)
    await sample(done, { self: process.pid, server: server.pid })
  }
}

const keptTags = 7
const squashEvery = 12

/**
 * A week of a capture each quarter of an hour (672): old tags go, gc runs, chains are squashed, the VM is
 * restored now and then.
 */
export async function captures(world, count, sample) {
  const { binary, runtime: runtimeDirectory, store } = world
  let { machine } = await restoreMachine(store, 'child', { engine: 'file', binary, runtimeDirectory })
  const tags = []
  try {
    for (let done = 1; done <= count; done++) {
      await disposing(MicroConsole.attach(machine.paths), async (console) => {
        await console.fill(pattern, done)
        await console.verify(other, 2)
      })
      const paused = await machine.pause()
      const tag = `week-${done}`
      await captureSnapshot(paused, { store, tags: [tag], parent: paused.snapshotId })
      machine = await paused.resume()
      tags.push(tag)
      if (tags.length > keptTags) await store.removeSnapshot(tags.shift())
      if (done % squashEvery === 0) await squashAll(store, tag)
      if (done % (4 * squashEvery) === 0) {
        await machine.stop()
        ;({ machine } = await restoreMachine(store, tag, { engine: 'file', binary, runtimeDirectory }))
        await disposing(MicroConsole.attach(machine.paths), async (console) => {
          await console.verify(pattern, done)
          await console.verify(other, 2)
        })
      }
      if (done % 4 === 0) await store.gc()
      await sample(done, { self: process.pid })
    }
  } finally {
    await machine.stop()
  }
  for (const tag of tags) await store.removeSnapshot(tag)
  await store.gc()
}

async function squashAll(store, ref) {
  await disposing(await store.open(ref), async ({ entry, files }) =>
    disposing(await store.stage(), async (staging) => {
      const path = join(staging.directory, 'layer')
      const layers = await Promise.all(files.map((file) => readLayer(file.path)))
      await squashLayers(layers, path, { layout: 'packed' })
      await store.relayer(entry.id, [{ path }])
    }),
  )
}
