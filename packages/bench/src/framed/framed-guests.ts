// The layers that bench:framed puts into frames: memory of a Linux guest from the nested lab, and of the
// micro guest.
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest, openNestedLab } from '@varve/lab'
import { captureSnapshot, findFirecracker, type LocalStore, openLocalStore } from 'varve'
import { type Layer, type PackOrder, packLayer, readLayer } from 'varve/layers'
import { pageSetFromPages, touchOrder } from 'varve/working-sets'
import { say } from '../common/results.js'
import { runInLab } from '../figures/in-lab.js'

/** A layer to measure with. */
export interface FramedGuest {
  readonly name: string
  readonly layer: Layer
  /** Its default working set; none for a child, whose set is its parent's. */
  readonly hot: PackOrder
}

const linuxMib = 512
const functions = ['json', 'html', 'node-render']

/** The base of a Linux guest, and the child that one more invocation makes of it. */
export async function linuxGuests(
  keptIn: string,
  scratch: string,
  signal: AbortSignal,
): Promise<FramedGuest[]> {
  const archive = join(keptIn, 'guest.tar')
  if (!existsSync(archive)) {
    mkdirSync(keptIn, { recursive: true, mode: 0o700 })
    await using lab = await openNestedLab({ onProgress: say, signal })
    await runInLab(lab, 'linux-memory.mjs', {
      args: [JSON.stringify({ names: functions, memoryMib: linuxMib })],
      outputDirectory: keptIn,
      timeoutMs: 2_400_000,
    })
  }
  const store = await openLocalStore(join(scratch, 'linux'), { create: true })
  await store.importFrom(archive, { signal })
  const base = await lastLayer(store, 'base')
  const set = await store.readWorkingSet('base', 'answer')
  const hot = touchOrder(set)
  const flat = await packLayer(base, join(scratch, 'linux-flat'), { layout: 'flat', signal })
  return [
    { name: `Linux, ${linuxMib} MiB, base`, layer: flat, hot },
    { name: 'the same, its child', layer: await lastLayer(store, 'child'), hot: [] },
  ]
}

/** A guest that has written a word into each of 32,000 pages. */
export async function microGuest(scratch: string, signal: AbortSignal): Promise<FramedGuest> {
  const store = await openLocalStore(join(scratch, 'micro'), { create: true })
  const binary = await findFirecracker({ onProgress: say })
  await using booted = await bootMicroGuest({ memoryMib: 256, binary, signal })
  await booted.console.write({ start: 1024, count: 32_000 }, 1)
  await captureSnapshot(await booted.machine.pause(), { store, tags: ['it'] })
  const sparse = pageSetFromPages(Array.from({ length: 2048 }, (_, i) => 1024 + i * 13))
  const layer = await lastLayer(store, 'it')
  const flat = await packLayer(layer, join(scratch, 'micro-flat'), { layout: 'flat', signal })
  return { name: 'micro guest, 256 MiB', layer: flat, hot: [sparse] }
}

async function lastLayer(store: LocalStore, ref: string): Promise<Layer> {
  await using snapshot = await store.open(ref)
  const { path } = snapshot.files.at(-1) as { readonly path: string }
  return readLayer(path)
}
