import { join } from 'node:path'
import { bootMicroGuest, MicroConsole, type TouchPattern } from '@varve/lab'
import {
  captureSnapshot,
  type EngineName,
  type FirecrackerBinary,
  type LocalStore,
  type ProcessIdentity,
  restoreMachine,
} from 'varve'
import { readLayer, squashLayers } from 'varve/layers'
import type { Processes } from './gauge.js'

export interface SoakWorld {
  readonly binary: FirecrackerBinary
  readonly store: LocalStore
  readonly runtime: string
}

/** Lives `count` times; `sample` is called after each. */
export type Phase = (
  world: SoakWorld,
  count: number,
  sample: (done: number, processes: Processes) => void,
) => Promise<void>

const pattern: TouchPattern = { start: 600, count: 40, order: 3 }
const other: TouchPattern = { start: 1200, count: 40, order: 3 }

/** A base and a child, so that the file engine makes a flat file and the others have two layers. */
export async function makeSnapshot({ binary, runtime: runtimeDirectory, store }: SoakWorld): Promise<void> {
  const guest = await bootMicroGuest({ binary, runtimeDirectory, memoryMib: 16 })
  await using machine = guest.machine
  await using console = guest.console
  await console.fill(pattern, 1)
  const paused = await machine.pause()
  await captureSnapshot(paused, { store, tags: ['base'] })
  const running = await paused.resume()
  await console.fill(other, 2)
  await captureSnapshot(await running.pause(), { store, tags: ['child'], parent: 'base' })
}

/** Every tenth guest checks its memory. Gives the page server, if there is one. */
async function restoreAndStop(
  { binary, runtime: runtimeDirectory, store }: SoakWorld,
  engine: EngineName,
  number: number,
): Promise<ProcessIdentity | undefined> {
  await using restored = await restoreMachine(store, 'child', { engine, binary, runtimeDirectory })
  if (number % 10 === 0) {
    await using console = MicroConsole.attach(restored.machine.paths)
    await console.verify(pattern, 1)
    await console.verify(other, 2)
  }
  return restored.pageServer?.identity
}

/** Restores and stops by one process, without a page server. */
export const restores: Phase = async (world, count, sample) => {
  for (let done = 1; done <= count; done++) {
    await restoreAndStop(world, done % 2 === 0 ? 'file' : 'mapped', done)
    sample(done, { self: process.pid })
  }
}

/** The same by one page server; it must be the same process at the end. */
export const served: Phase = async (world, count, sample) => {
  let first: number | undefined
  for (let done = 1; done <= count; done++) {
    const server = (await restoreAndStop(world, 'paged', done))?.pid
    first ??= server
    if (server === undefined || server !== first)
      throw new Error(`restore ${done} has page server ${server}, not ${first}`)
    sample(done, { self: process.pid, server })
  }
}

const keptTags = 7
const squashEvery = 12

/**
 * A week of a capture each quarter of an hour (672): old tags go, gc runs, chains are squashed, the VM is
 * restored now and then.
 */
export const captures: Phase = async (world, count, sample) => {
  const { binary, runtime: runtimeDirectory, store } = world
  const restore = (ref: string) => restoreMachine(store, ref, { engine: 'file', binary, runtimeDirectory })
  let { machine } = await restore('child')
  const tags: string[] = []
  try {
    for (let done = 1; done <= count; done++) {
      {
        await using console = MicroConsole.attach(machine.paths)
        await console.fill(pattern, done)
        await console.verify(other, 2)
      }
      const paused = await machine.pause()
      const tag = `week-${done}`
      await captureSnapshot(paused, { store, tags: [tag], parent: paused.snapshotId ?? undefined })
      machine = await paused.resume()
      tags.push(tag)
      if (tags.length > keptTags) await store.removeSnapshot(tags.shift() as string)
      if (done % squashEvery === 0) await squashAll(store, tag)
      if (done % (4 * squashEvery) === 0) {
        await machine.stop()
        ;({ machine } = await restore(tag))
        await using console = MicroConsole.attach(machine.paths)
        await console.verify(pattern, done)
        await console.verify(other, 2)
      }
      if (done % 4 === 0) await store.gc()
      sample(done, { self: process.pid })
    }
  } finally {
    await machine.stop()
  }
  for (const tag of tags) await store.removeSnapshot(tag)
  await store.gc()
}

async function squashAll(store: LocalStore, ref: string): Promise<void> {
  await using snapshot = await store.open(ref)
  await using staging = await store.stage()
  const path = join(staging.directory, 'layer')
  const layers = await Promise.all(snapshot.files.map((file) => readLayer(file.path)))
  await squashLayers(layers, path, { layout: 'packed' })
  await store.relayer(snapshot.entry.id, [{ path }])
}
