// The snapshots that bench:restore restores, and what a guest does after a restore.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest, MicroConsole, type TouchPattern, touchedPages } from '@varve/lab'
import { captureSnapshot, type LocalStore, openLocalStore, type RestoreOptions, restoreMachine } from 'varve'
import { pageSetFromPages, presentPages } from 'varve/working-sets'
import { inCheckout } from '../common/checkout.js'
import { say } from '../common/results.js'

export type Launch = Required<Pick<RestoreOptions, 'binary' | 'runtimeDirectory' | 'signal'>>

/** What the guest touches: patterns one after the other, each read or written. */
export type Pass = readonly { readonly writes: boolean; readonly pattern: TouchPattern }[]

/**
 * A set as measured ones are: runs of five pages all over the guest, each run four pages read and one
 * written, in an order of their own.
 */
export function passOf(memoryMib: number, setMib: number): Pass {
  const first = 1024
  const runs = Math.floor((setMib * 256) / 5)
  const stride = Math.floor((memoryMib * 256 - 2 * first) / runs)
  return [0, 1, 2, 3, 4].map((offset) => ({
    writes: offset === 4,
    pattern: { start: first + offset, count: runs, stride, order: 7 + offset },
  }))
}

/** A scattered pass over a disk that reads little around each fault takes its time on a busy machine. */
const touchTimeoutMs = 120_000

export async function touch(guest: MicroConsole, pass: Pass): Promise<void> {
  const options = { timeoutMs: touchTimeoutMs }
  for (const { pattern, writes } of pass)
    await (writes ? guest.write(pattern, 5, options) : guest.read(pattern, options))
}

/**
 * A guest with data in three quarters of its memory, as a chain of `layers`, each but the first with 3,000
 * pages of its own at most.
 */
export async function makeChain(
  directory: string,
  { memoryMib, layers }: { readonly memoryMib: number; readonly layers: number },
  launch: Launch,
): Promise<LocalStore> {
  say(`${memoryMib} MiB, ${layers} layers: making the snapshots`)
  const store = await openLocalStore(join(directory, `store-${memoryMib}-${layers}`), { create: true })
  const area = { start: 1024, count: memoryMib * 256 - 2048 }
  await using booted = await bootMicroGuest({ memoryMib, ...launch })
  const { machine, console: guest } = booted
  const quarter = Math.floor(area.count / 4)
  for (let part = 0; part < 4; part++)
    // A word a page makes it data; filling them, word by word and emulated, takes a minute.
    await guest.write({ start: area.start + part * quarter, count: Math.floor(quarter * 0.75) }, 1)
  const perLayer = Math.floor(Math.min(memoryMib * 5, 6000 / (layers - 1)))
  let running = machine
  for (let layer = 1; layer <= layers; layer++) {
    if (layer > 1) await guest.write({ start: area.start, count: perLayer, stride: 40, order: layer }, layer)
    const paused = await running.pause()
    await captureSnapshot(paused, { store, tags: ['it'], ...(layer > 1 ? { parent: 'it' } : {}) })
    running = await paused.resume()
  }
  return store
}

/** Keeps exactly what a pass touches, as the page server sees it, as the snapshot's set `set`. */
export async function recordSet(store: LocalStore, pass: Pass, launch: Launch): Promise<void> {
  const { machine, recording } = await restoreMachine(store, 'it', {
    ...launch,
    engine: 'paged',
    record: { recorders: ['faults'], maxMs: 120_000 },
  })
  if (recording === undefined) throw new Error('the restore was not recorded')
  await using _machine = machine
  await using _recording = recording
  await using guest = MicroConsole.attach(machine.paths)
  await touch(guest, pass)
  const { workingSet } = await recording.stop()
  const told = pageSetFromPages(pass.flatMap(({ pattern }) => touchedPages(pattern)))
  say(`recorded ${presentPages(workingSet).pages} pages for ${told.pages} told`)
  await store.saveWorkingSet('it', 'set', workingSet)
}

/** A copy of the store with the layers packed by the set. */
export async function packedStore(store: LocalStore, directory: string, name: string): Promise<LocalStore> {
  const archive = join(directory, `${name}.tar`)
  await store.exportTo(['it'], archive)
  const packed = await openLocalStore(join(directory, `packed-${name}`), { create: true })
  await packed.importFrom(archive)
  rmSync(archive)
  const varve = inCheckout('node_modules/.bin/varve')
  const args = [varve, 'pack', 'it', '--working-set', 'set', '--store', packed.location]
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`varve pack: ${stderr}`)
  return packed
}
