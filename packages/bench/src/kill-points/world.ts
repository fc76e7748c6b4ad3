// What the kill-point runs work on: a store with a chain of three snapshots, one without a
// tag, a flat image, and garbage.
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import {
  flattenSnapshot,
  type LocalStore,
  openLocalStore,
  type SnapshotDraft,
  type SnapshotEntry,
} from 'varve'
import { compareImages, type ImageId, sealLayer } from 'varve/layers'
import { inCheckout } from '../common/checkout.js'
import { makeCacheTemplate } from './cache-world.js'

const pageBytes = 4096
const pages = 64
const state = inCheckout('test/golden/firecracker/1.12.1/two-regions/state')

/** undefined a hole, 0 zero data, else a byte to fill the page with. */
const planOf = (seed: number): (number | undefined)[] =>
  Array.from({ length: pages }, (_, page) => {
    // Long enough a run of zeros for its space to be given back.
    if (page < 20) return 0
    const value = (page * 7 + seed * 13) % 11
    return value < 4 ? undefined : value === 4 ? 0 : 1 + ((value * 17 + seed) % 250)
  })

function imageOf(seeds: readonly number[]): Buffer {
  const image = Buffer.alloc(pages * pageBytes)
  for (const seed of seeds)
    for (const [page, byte] of planOf(seed).entries())
      if (byte !== undefined) image.fill(byte, page * pageBytes, (page + 1) * pageBytes)
  return image
}

export interface Drafted {
  readonly parent?: ImageId | null
  readonly disk?: boolean
}

type CommitOptions = NonNullable<Parameters<LocalStore['commit']>[1]>

/** A draft whose memory is not sealed yet. */
type Unsealed = Omit<SnapshotDraft, 'layerPath'> & { readonly memory: string }

/** Writes a snapshot's files as Firecracker would, into a directory: only what follows is under test. */
function draft(directory: string, seed: number, { parent = null, disk = false }: Drafted): Unsealed {
  const id = randomBytes(16).toString('hex') as ImageId
  const memory = join(directory, 'memory')
  const fd = openSync(memory, 'wx', 0o600)
  ftruncateSync(fd, pages * pageBytes)
  for (const [page, byte] of planOf(seed).entries())
    if (byte !== undefined) writeSync(fd, Buffer.alloc(pageBytes, byte), 0, pageBytes, page * pageBytes)
  closeSync(fd)
  copyFileSync(state, join(directory, 'state'))
  if (disk) {
    const file = openSync(join(directory, 'disk'), 'wx', 0o600)
    ftruncateSync(file, 65_536)
    writeSync(file, `disk of ${seed}`, 8192)
    closeSync(file)
  }
  return {
    config: {
      id,
      parent,
      createdAt: new Date().toISOString(),
      kind: parent === null ? 'full' : 'diff',
      memoryPages: pages,
      firecracker: { version: '1.12.1' },
      host: { cpu: 'a cpu', kernel: '6.1.0', arch: 'x86_64', pageSizeBytes: pageBytes },
      machine: {},
      disks: disk ? [{ drive: 'data', file: 'disk-data', readOnly: false, sizeBytes: 65_536 }] : [],
    },
    memory,
    statePath: join(directory, 'state'),
    disks: disk ? [{ drive: 'data', path: join(directory, 'disk') }] : [],
  }
}

export interface Captured extends Drafted {
  readonly tags?: readonly string[]
  readonly leaseTo?: CommitOptions['leaseTo']
}

export async function capture(
  store: LocalStore,
  seed: number,
  { tags, leaseTo, ...drafted }: Captured = {},
): Promise<SnapshotEntry> {
  await using staging = await store.stage()
  const { memory, ...rest } = draft(staging.directory, seed, drafted)
  const layer = await sealLayer(memory, { image: rest.config.id, parent: rest.config.parent })
  return (await store.commit({ ...rest, layerPath: layer.path }, { tags, leaseTo })).entry
}

/** The store that every run starts from, and another one's export to import. */
export async function makeTemplate(directory: string): Promise<void> {
  const store = await openLocalStore(join(directory, 'store'), { create: true })
  const base = await capture(store, 1, { tags: ['base'], disk: true })
  const one = await capture(store, 2, { parent: base.id, tags: ['one'] })
  await capture(store, 3, { parent: one.id, tags: ['two'], disk: true })
  await capture(store, 9, { tags: ['gone'] })
  const lost = await capture(store, 4, { parent: one.id })
  for (const ref of ['two', lost.id]) {
    await using snapshot = await store.open(ref)
    await flattenSnapshot(snapshot)
  }
  // A process that was killed at work.
  mkdirSync(join(directory, 'store/varve/staging/0123456789abcdef'), { mode: 0o700 })
  const other = await openLocalStore(join(directory, 'other'), { create: true })
  const foreign = await capture(other, 5, { tags: ['foreign'], disk: true })
  await capture(other, 6, { parent: foreign.id, tags: ['foreign-child'] })
  await other.exportTo(['foreign', 'foreign-child'], join(directory, 'foreign.tar'))
  rmSync(join(directory, 'other'), { recursive: true })
  await makeCacheTemplate(directory)
}

/** What must be there whatever was killed: tags and the seeds whose plans make their images. */
export const promised: Readonly<Record<string, readonly number[]>> = {
  base: [1],
  one: [1, 2],
  two: [1, 2, 3],
}
/** What may be there as well, by tag. */
export const possible: Readonly<Record<string, readonly number[]>> = {
  new: [7],
  child: [1, 2, 3, 8],
  foreign: [5],
  'foreign-child': [5, 6],
  moved: [1, 2],
  gone: [9],
}

/** Whether a snapshot's image, read as a restore would read it, is what the plans of its chain make. */
export async function isImage(
  store: LocalStore,
  ref: string,
  seeds: readonly number[],
  scratch: string,
): Promise<boolean> {
  const expected = join(scratch, `image-${seeds.join('-')}`)
  if (!existsSync(expected)) writeFileSync(expected, imageOf(seeds))
  await using snapshot = await store.open(ref)
  return (await compareImages(snapshot, expected)).pages === 0
}
