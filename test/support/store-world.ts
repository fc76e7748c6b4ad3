import { randomBytes } from 'node:crypto'
import { closeSync, copyFileSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type CommitOptions,
  type SnapshotDraft,
  type SnapshotEntry,
  type SnapshotStore,
  VarveError,
} from 'varve'
import { flatten, sealLayer } from 'varve/layers'

export const pages = 64
export const pageBytes = 4096

/** What a memory file holds in each page: undefined a hole, 0 zero data, else a byte to fill it with. */
export type Plan = readonly (number | undefined)[]

/** A state file that Firecracker wrote. */
export const goldenState = fileURLToPath(
  new URL('../golden/firecracker/1.12.1/two-regions/state', import.meta.url),
)

export const someplan = (seed: number): Plan =>
  Array.from({ length: pages }, (_, page) => {
    const value = (page * 7 + seed * 13) % 11
    return value < 4 ? undefined : value === 4 ? 0 : 1 + ((value * 17 + seed) % 250)
  })

/** The bytes of an image, from the plans of its chain. */
export function imageOf(plans: readonly Plan[]): Buffer {
  const image = Buffer.alloc(pages * pageBytes)
  for (const plan of plans)
    for (const [page, byte] of plan.entries())
      if (byte !== undefined) image.fill(byte, page * pageBytes, (page + 1) * pageBytes)
  return image
}

export function writeMemory(path: string, plan: Plan): void {
  const fd = openSync(path, 'wx', 0o600)
  ftruncateSync(fd, plan.length * pageBytes)
  for (const [page, byte] of plan.entries())
    if (byte !== undefined) writeSync(fd, Buffer.alloc(pageBytes, byte), 0, pageBytes, page * pageBytes)
  closeSync(fd)
}

/** Puts a snapshot into a store, as a capture does it, with memory of our making and a disk. */
export async function addSnapshot(
  store: SnapshotStore,
  plan: Plan,
  options: {
    readonly parent?: string
    readonly tags?: readonly string[]
    readonly disk?: string
    readonly leaseTo?: CommitOptions['leaseTo']
  } = {},
): Promise<SnapshotEntry> {
  const staging = await store.stage()
  try {
    const { tags, leaseTo } = options
    return (await store.commit(await draft(staging.directory, plan, options), { tags, leaseTo })).entry
  } finally {
    await staging[Symbol.asyncDispose]()
  }
}

export async function draft(
  directory: string,
  plan: Plan,
  { parent = undefined, disk }: { readonly parent?: string; readonly disk?: string } = {},
): Promise<SnapshotDraft> {
  const id = randomBytes(16).toString('hex')
  const [memory, state, diskPath] = ['memory', 'state', 'disk'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ]
  writeMemory(memory, plan)
  copyFileSync(goldenState, state)
  const layer = await sealLayer(memory, { image: id, parent: parent ?? null })
  if (disk !== undefined) {
    const fd = openSync(diskPath, 'wx', 0o600)
    ftruncateSync(fd, 1024 * 1024)
    writeSync(fd, disk, 8192)
    closeSync(fd)
  }
  return {
    config: {
      id,
      parent: parent ?? null,
      createdAt: new Date().toISOString(),
      kind: parent === undefined ? 'full' : 'diff',
      memoryPages: layer.index.pages,
      firecracker: { version: '1.12.1' },
      host: { cpu: 'a cpu', kernel: '6.1.0', arch: 'x86_64', pageSizeBytes: pageBytes },
      machine: { 'machine-config': { vcpu_count: 1 } },
      disks:
        disk === undefined
          ? []
          : [{ drive: 'data', file: 'disk-data', readOnly: false, sizeBytes: 1024 * 1024 }],
    },
    layerPath: memory,
    statePath: state,
    disks: disk === undefined ? [] : [{ drive: 'data', path: diskPath }],
  }
}

/** The bytes of a snapshot's image, as a restore would read them. */
export async function readImage(store: SnapshotStore, ref: string, scratch: string): Promise<Buffer> {
  const snapshot = await store.open(ref)
  try {
    const path = join(scratch, `flat-${randomBytes(4).toString('hex')}`)
    await flatten(snapshot, path)
    return readFileSync(path)
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}

export const code = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: unknown) => (error instanceof VarveError ? error.code : String(error)),
  )
