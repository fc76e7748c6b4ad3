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
import { fileURLToPath } from 'node:url'
import { flattenSnapshot, openLocalStore } from 'varve'
import { compareImages, sealLayer } from 'varve/layers'

const pageBytes = 4096
export const pages = 64
const state = fileURLToPath(
  new URL('../../../../test/golden/firecracker/1.12.1/two-regions/state', import.meta.url),
)

/** undefined a hole, 0 zero data, else a byte to fill the page with. */
const planOf = (seed) =>
  Array.from({ length: pages }, (_, page) => {
    // Long enough a run of zeros for its space to be given back.
    if (page < 20) return 0
    const value = (page * 7 + seed * 13) % 11
    return value < 4 ? undefined : value === 4 ? 0 : 1 + ((value * 17 + seed) % 250)
  })

function imageOf(seeds) {
  const image = Buffer.alloc(pages * pageBytes)
  for (const seed of seeds)
    for (const [page, byte] of planOf(seed).entries())
      if (byte !== undefined) image.fill(byte, page * pageBytes, (page + 1) * pageBytes)
  return image
}

/** Writes a snapshot's files as Firecracker would, into a directory: only what follows is under test. */
export async function draft(directory, seed, { parent = null, disk = false } = {}) {
  const id = randomBytes(16).toString('hex')
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

export async function capture(store, seed, { parent, disk, tags, leaseTo } = {}) {
  const staging = await store.stage()
  try {
    const { memory, ...rest } = await draft(staging.directory, seed, { parent, disk })
    const layer = await sealLayer(memory, { image: rest.config.id, parent: rest.config.parent })
    return (await store.commit({ ...rest, layerPath: layer.path }, { tags, leaseTo })).entry
  } finally {
    await staging[Symbol.asyncDispose]()
  }
}

/** The store that every run starts from, and another one's export to import. */
export async function makeTemplate(directory) {
  const store = await openLocalStore(join(directory, 'store'), { create: true })
  const base = await capture(store, 1, { tags: ['base'], disk: true })
  const one = await capture(store, 2, { parent: base.id, tags: ['one'] })
  await capture(store, 3, { parent: one.id, tags: ['two'], disk: true })
  await capture(store, 9, { tags: ['gone'] })
  const lost = await capture(store, 4, { parent: one.id })
  for (const ref of ['two', lost.id]) {
    const snapshot = await store.open(ref)
    await flattenSnapshot(snapshot)
    await snapshot[Symbol.asyncDispose]()
  }
  // A process that was killed at work.
  mkdirSync(join(directory, 'store/varve/staging/0123456789abcdef'), { mode: 0o700 })
  const other = await openLocalStore(join(directory, 'other'), { create: true })
  const foreign = await capture(other, 5, { tags: ['foreign'], disk: true })
  await capture(other, 6, { parent: foreign.id, tags: ['foreign-child'] })
  await other.exportTo(['foreign', 'foreign-child'], join(directory, 'foreign.tar'))
  rmSync(join(directory, 'other'), { recursive: true })
}

/** What must be there whatever was killed: tags and the seeds whose plans make their images. */
export const promised = { base: [1], one: [1, 2], two: [1, 2, 3] }
/** What may be there as well, by tag. */
export const possible = {
  new: [7],
  child: [1, 2, 3, 8],
  foreign: [5],
  'foreign-child': [5, 6],
  moved: [1, 2],
  gone: [9],
}

/** Whether a snapshot's image, read as a restore would read it, is what the plans of its chain make. */
export async function isImage(store, ref, seeds, scratch) {
  const expected = join(scratch, `image-${seeds.join('-')}`)
  if (!existsSync(expected)) writeFileSync(expected, imageOf(seeds))
  const snapshot = await store.open(ref)
  try {
    return (await compareImages(snapshot, expected)).pages === 0
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}
