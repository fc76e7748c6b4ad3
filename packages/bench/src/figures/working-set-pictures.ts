// Makes the pictures of docs/guides/working-sets.md: a micro guest is restored, reads and writes in four
// phases, is recorded, and the set is drawn by class and by time. `node scripts/bench.mjs
// working-set-pictures [DIRECTORY]`.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest, MicroConsole } from '@varve/lab'
import { groupMapPng, heatMapPng } from '@varve/lab/pictures'
import {
  captureSnapshot,
  findFirecracker,
  type LocalStore,
  openLocalStore,
  type RestoreOptions,
  restoreMachine,
} from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'
import { classify, presentPages } from 'varve/working-sets'
import { inCheckout } from '../common/checkout.js'
import { say } from '../common/results.js'
import { openScratch } from '../common/scratch.js'

const memoryMib = 256

type Launch = Required<Pick<RestoreOptions, 'binary' | 'runtimeDirectory'>>

const phases: readonly ((guest: MicroConsole) => Promise<unknown>)[] = [
  (guest) => guest.read({ start: 2048, count: 6000 }),
  (guest) => guest.read({ start: 12_000, count: 4000, stride: 5, order: 3 }),
  (guest) => guest.write({ start: 9000, count: 2500 }, 2),
  async (guest) => {
    await guest.write({ start: 34_000, count: 700, stride: 19, order: 4 }, 3)
    await guest.read({ start: 52_000, count: 3000 })
  },
]

export async function workingSetPictures([
  out = inCheckout('docs/guides/images'),
]: readonly string[]): Promise<void> {
  using scratch = openScratch('/var/tmp')
  const store = await openLocalStore(scratch.path('store'), { create: true })
  const launch: Launch = { binary: await findFirecracker(), runtimeDirectory: scratch.path('run') }
  await makeSnapshot(store, launch)
  const { machine, recording } = await restoreMachine(store, 'base', {
    ...launch,
    record: { recorders: ['pagemap'] },
  })
  if (recording === undefined) throw new Error('the restore was not recorded')
  await using _machine = machine
  await using _recording = recording
  await using guest = MicroConsole.attach(machine.paths)
  for (const phase of phases) {
    await phase(guest)
    await recording.scan()
  }
  const { workingSet } = await recording.stop()
  await using snapshot = await store.open('base')
  const { readOnly, written, pages, groups } = workingSet
  const zero = pagesFrom(snapshot.map, zeroSource)
  mkdirSync(out, { recursive: true })
  writeFileSync(
    join(out, 'working-set-classes.png'),
    heatMapPng(classify({ present: readOnly, written, zero, pages })),
  )
  writeFileSync(join(out, 'working-set-groups.png'), groupMapPng(workingSet))
  say(`${presentPages(workingSet).pages} pages in ${groups.length} groups, ${written.pages} written; ${out}`)
}

async function makeSnapshot(store: LocalStore, launch: Launch): Promise<void> {
  await using booted = await bootMicroGuest({ memoryMib, ...launch })
  const { machine, console: guest } = booted
  await guest.write({ start: 1024, count: 44_000 }, 1)
  await captureSnapshot(await machine.pause(), { store, tags: ['base'] })
}
