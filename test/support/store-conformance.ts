import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, copyFileSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type CommitOptions,
  packSnapshot,
  type SnapshotDraft,
  type SnapshotEntry,
  type SnapshotStore,
  squashSnapshot,
  VarveError,
} from 'varve'
import {
  compareImages,
  flatten,
  packLayer,
  readLayer,
  sealLayer,
  squashLayers,
  storedRuns,
} from 'varve/layers'
import {
  emptyPageSet,
  fitWorkingSet,
  pageRange,
  pageSetFromPages,
  readWorkingSet,
  type WorkingSet,
} from 'varve/working-sets'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

export const pages = 64
const pageBytes = 4096

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

export interface StoreUnderTest {
  readonly store: SnapshotStore
  /** The same place, opened anew as another process would. */
  reopen(): Promise<SnapshotStore>
  /** A directory for files of the test. */
  readonly scratch: string
  close(): Promise<void>
}

/** What every snapshot store must do, whatever it is made of. */
export function storeConformance(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps snapshots`, () => {
    let it: StoreUnderTest
    let store: SnapshotStore
    beforeEach(async () => {
      it = await make()
      store = it.store
    })
    afterEach(() => it.close())
    const image = (ref: string, from = store) => readImage(from, ref, it.scratch)
    const clean = async () => (await store.fsck()).findings
    const [a, b, c] = [someplan(1), someplan(2), someplan(3)] as const

    /** base ← one ← two */
    async function chain() {
      const base = await addSnapshot(store, a, { tags: ['base'], disk: 'disk of base' })
      const one = await addSnapshot(store, b, { parent: base.id, tags: ['one'], disk: 'disk of one' })
      const two = await addSnapshot(store, c, { parent: one.id, tags: ['two', 'latest'] })
      return { base, one, two }
    }

    test('what was committed is listed, resolved and read back, byte for byte, also by another process', async () => {
      const { base, one, two } = await chain()
      const other = await it.reopen()
      for (const from of [store, other]) {
        expect((await from.list()).map(({ id }) => id)).toEqual([base.id, one.id, two.id])
        for (const ref of ['two', 'latest', two.id, two.id.slice(0, 8)])
          expect((await from.resolve(ref)).id).toBe(two.id)
        expect((await image('base', from)).equals(imageOf([a]))).toBe(true)
        expect((await image('one', from)).equals(imageOf([a, b]))).toBe(true)
        expect((await image('two', from)).equals(imageOf([a, b, c]))).toBe(true)
      }
      const described = await store.describe('one')
      expect(described.config).toMatchObject({ id: one.id, parent: base.id, memoryPages: pages })
      expect(described.layers).toHaveLength(2)
      expect((await store.resolve('two')).tags).toEqual(['two', 'latest'])
      expect((await store.resolve('two')).parent).toBe(one.id)
      expect(await clean()).toEqual([])
    })

    test('an opened snapshot has its state, disks and layers as files', async () => {
      await chain()
      const snapshot = await store.open('one')
      expect(readFileSync(snapshot.statePath).equals(readFileSync(goldenState))).toBe(true)
      expect(snapshot.diskFiles).toMatchObject([{ drive: 'data', file: 'disk-data', readOnly: false }])
      const disk = readFileSync(snapshot.diskFiles[0]?.path as string)
      expect(disk.toString('latin1', 8192, 8203)).toBe('disk of one')
      expect(disk).toHaveLength(1024 * 1024)
      expect(snapshot.files.map(({ storedPages }) => storedPages)).toEqual([pages, pages])
      await snapshot[Symbol.asyncDispose]()
    })

    test('what is not there, ambiguous or badly named is refused', async () => {
      const { base } = await chain()
      expect(await code(store.resolve('nothing'))).toBe('NOT_FOUND')
      expect(await code(store.open('f'.repeat(32)))).toBe('NOT_FOUND')
      expect(await code(store.resolve(base.id.slice(0, 5)))).toBe('NOT_FOUND')
      for (const tag of ['', '-x', 'a/b', '../x', 'x'.repeat(129), 'ä', base.id, 'a b'])
        expect(await code(store.tag('base', tag)), tag).toBe('INVALID_ARGUMENT')
      expect(await code(store.tag('nothing', 'x'))).toBe('NOT_FOUND')
      expect(await code(store.removeTag('nothing'))).toBe('NOT_FOUND')
    })

    test('a tag moves to the snapshot that was given it last', async () => {
      const { one, two } = await chain()
      expect((await store.tag('one', 'latest')).tags).toEqual(['one', 'latest'])
      expect((await store.resolve('latest')).id).toBe(one.id)
      expect((await store.resolve(two.id)).tags).toEqual(['two'])
      await store.removeTag('latest')
      expect(await code(store.resolve('latest'))).toBe('NOT_FOUND')
      const again = await addSnapshot(store, a, { tags: ['one'] })
      expect((await store.resolve('one')).id).toBe(again.id)
      expect((await store.resolve(one.id)).tags).toEqual([])
    })

    test('removing a tag takes one name away; removing a snapshot takes all', async () => {
      const { one } = await chain()
      await store.tag('one', 'latest')
      expect(await code(store.removeTag(one.id))).toBe('NOT_FOUND')
      expect((await store.removeTag('latest')).tags).toEqual(['one'])
      await store.tag('one', 'again')
      expect(await store.removeSnapshot('again')).toMatchObject({ id: one.id, tags: [] })
      expect(await code(store.resolve('one'))).toBe('NOT_FOUND')
    })

    test('a commit over a parent that is not there, or with a layer of something else, changes nothing', async () => {
      const { base } = await chain()
      const before = await store.list()
      expect(await code(addSnapshot(store, a, { parent: 'a'.repeat(32) }))).toBe('IMAGE_MISMATCH')
      const staging = await store.stage()
      const wrong = await draft(staging.directory, a, { parent: base.id })
      expect(await code(store.commit({ ...wrong, config: { ...wrong.config, id: 'b'.repeat(32) } }))).toBe(
        'IMAGE_MISMATCH',
      )
      await staging[Symbol.asyncDispose]()
      expect(await store.list()).toEqual(before)
      expect((await clean()).filter(({ severity }) => severity === 'error')).toEqual([])
    })

    test('a commit without a tag can be leased to this process, until that says by a tag what it wants', async () => {
      const leaseTo = ['this process'] as const
      const kept = await addSnapshot(store, a, { leaseTo })
      const other = await it.reopen()
      expect((await other.gc()).removedSnapshots).toEqual([])
      await store.tag(kept.id, 'kept')
      await other.removeSnapshot('kept')
      expect((await store.gc()).removedSnapshots).toEqual([kept.id])
      const removed = await addSnapshot(store, b, { leaseTo })
      await store.removeSnapshot(removed.id)
      expect((await store.gc()).removedSnapshots).toEqual([removed.id])
      expect(await clean()).toEqual([])
    })

    test('a snapshot that is kept stays through removal and gc, until it is kept no more', async () => {
      const { base, one, two } = await chain()
      const kept = await store.keep('one')
      expect(kept).toMatchObject({ entry: { id: one.id }, config: { parent: base.id } })
      for (const { id } of [base, one, two]) await store.removeSnapshot(id)
      expect((await store.gc()).removedSnapshots).toEqual([base.id, two.id])
      await kept[Symbol.asyncDispose]()
      expect((await store.gc()).removedSnapshots).toEqual([one.id])
      expect(await code(store.keep('one'))).toBe('NOT_FOUND')
    })

    test('gc removes what no tag and no lease needs, and nothing else', async () => {
      const { base, one, two } = await chain()
      await store.removeSnapshot('one')
      await store.removeSnapshot('base')
      const lease = await store.open(base.id)
      const dry = await store.gc({ dryRun: true })
      expect(dry.removedSnapshots).toEqual([one.id])
      expect((await store.list()).map(({ id }) => id)).toEqual([base.id, one.id, two.id])
      const report = await store.gc()
      expect(report.removedSnapshots).toEqual([one.id])
      expect(report.removedBlobs).toBe(dry.removedBlobs)
      expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
      expect((await image(base.id)).equals(imageOf([a]))).toBe(true)
      await lease[Symbol.asyncDispose]()
      expect((await store.gc()).removedSnapshots).toEqual([base.id])
      expect(await code(store.open(base.id))).toBe('NOT_FOUND')
      // Its layer is still part of two.
      expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
      await store.removeSnapshot('two')
      await store.gc()
      expect(await store.list()).toEqual([])
      expect(await store.fsck()).toMatchObject({ blobs: 0, findings: [] })
    })

    test('a child can be taken of a snapshot without a tag, as long as somebody has it leased', async () => {
      const base = await addSnapshot(store, a)
      const lease = await store.open(base.id)
      await store.gc()
      const child = await addSnapshot(store, b, { parent: base.id, tags: ['child'] })
      await lease[Symbol.asyncDispose]()
      expect((await store.gc()).removedSnapshots).toEqual([base.id])
      expect((await image(child.id)).equals(imageOf([a, b]))).toBe(true)
    })

    test('other layers for the same image: the snapshot keeps its id, tags, children and bytes', async () => {
      const { base, one, two } = await chain()
      const staging = await store.stage()
      const opened = await store.open('two')
      const layers = await Promise.all(opened.files.map(({ path }) => readLayer(path)))
      const squashed = await squashLayers(layers.slice(1), join(staging.directory, 'squashed'))
      const [bottom] = (await store.describe('two')).layers
      const entry = await store.relayer('two', [
        bottom as NonNullable<typeof bottom>,
        { path: squashed.path },
      ])
      expect(entry).toMatchObject({ id: two.id, tags: ['two', 'latest'], parent: one.id })
      expect(entry.manifest.digest).not.toBe(two.manifest.digest)
      const packed = await packLayer(layers[0] as (typeof layers)[0], join(staging.directory, 'packed'), {
        layout: 'packed',
      })
      await store.relayer('base', [{ path: packed.path }])
      await staging[Symbol.asyncDispose]()
      expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
      expect((await image('base')).equals(imageOf([a]))).toBe(true)
      expect((await store.describe('two')).layers).toHaveLength(2)
      // The one opened before still has its files.
      await store.gc()
      expect((await compareImages(opened, opened)).pages).toBe(0)
      for (const { path } of opened.files) readFileSync(path)
      await opened[Symbol.asyncDispose]()
      await store.gc()
      expect(await clean()).toEqual([])
      const child = await addSnapshot(store, a, { parent: two.id, tags: ['three'] })
      expect((await image(child.id)).equals(imageOf([a, b, c, a]))).toBe(true)
      // Layers that make another image are refused.
      const foreign = (await store.describe('base')).layers
      expect(await code(store.relayer('two', foreign))).toBe('IMAGE_MISMATCH')
      expect(base.id).not.toBe(two.id)
    })

    test('export and import: another store has the same snapshots, bytes and names', async () => {
      const { base, two } = await chain()
      const path = join(it.scratch, 'two.tar')
      const { bytes } = await store.exportTo(['two', 'base'], path)
      expect(readFileSync(path)).toHaveLength(bytes)
      expect(await code(store.exportTo(['two'], path))).toBe('ALREADY_EXISTS')
      const other = await make()
      try {
        const mine = await addSnapshot(other.store, c, { tags: ['latest'] })
        const imported = await other.store.importFrom(path)
        expect(imported.map(({ id }) => id).sort()).toEqual([base.id, two.id].sort())
        expect((await readImage(other.store, 'two', it.scratch)).equals(imageOf([a, b, c]))).toBe(true)
        expect((await readImage(other.store, 'base', it.scratch)).equals(imageOf([a]))).toBe(true)
        // A name that another caller has stays theirs.
        expect((await other.store.resolve('latest')).id).toBe(mine.id)
        expect((await other.store.resolve('two')).tags).toEqual(['two'])
        expect((await other.store.fsck()).findings).toEqual([])
        expect((await other.store.importFrom(path)).map(({ id }) => id).sort()).toEqual(
          [base.id, two.id].sort(),
        )
        expect((await other.store.list()).length).toBe(3)
      } finally {
        await other.close()
      }
    })

    test('working sets are read by REF:NAME, and fit children, archives and packs of children', async () => {
      const { one, two } = await chain()
      const workingSet: WorkingSet = {
        image: one.id,
        pages,
        recordedAtMs: 1,
        windowMs: 2,
        readOnly: pageRange(0, pages),
        written: emptyPageSet,
        groups: [],
        notes: {},
      }
      await store.saveWorkingSet('one', 'all', workingSet)
      expect(await store.readWorkingSet('one:all')).toEqual(workingSet)
      expect(await store.readWorkingSet(one.id, 'all')).toEqual(workingSet)
      expect(await code(store.readWorkingSet('one:none'))).toBe('NOT_FOUND')
      expect(await code(store.readWorkingSet('two', 'all'))).toBe('NOT_FOUND')
      for (const text of ['one', 'one:', ':all', 'one:all:all'])
        expect(await code(store.readWorkingSet(text)), text).toBe('INVALID_ARGUMENT')

      const snapshot = await store.open('two')
      const fitted = await fitWorkingSet(store, snapshot, 'one:all')
      await snapshot[Symbol.asyncDispose]()
      // Pages that the plan of the child writes are others there.
      const rewritten = c.filter((byte) => byte !== undefined).length
      expect(fitted.workingSet.image).toBe(two.id)
      expect(fitted.droppedPages).toBeGreaterThan(0)
      expect(fitted.droppedPages).toBeLessThanOrEqual(rewritten)

      const path = join(it.scratch, 'one-all.tar')
      await store.exportTo(['one', 'two'], path, { workingSet: 'one:all' })
      expect(await code(store.exportTo(['base'], `${path}2`, { workingSet: 'one:all' }))).toBe(
        'IMAGE_MISMATCH',
      )
      const packed = await packSnapshot(store, 'two', { workingSet: 'one:all' })
      expect(packed).toMatchObject({ id: two.id, layout: 'packed', layers: 3, packed: 3, others: [] })
      expect(await code(packSnapshot(store, 'base', { workingSet: 'one:all' }))).toBe('IMAGE_MISMATCH')
      expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
      expect((await clean()).filter(({ severity }) => severity === 'error')).toEqual([])
    })

    test('squash and pack by reference: a run of layers, and every snapshot that has them', async () => {
      const { base, one, two } = await chain()
      expect(await squashSnapshot(store, 'base')).toEqual({
        id: base.id,
        layers: 1,
        squashed: 0,
        layer: null,
        others: [],
      })
      expect(await code(squashSnapshot(store, 'base', { above: 'two' }))).toBe('INVALID_ARGUMENT')
      expect(await code(squashSnapshot(store, 'two', { above: 'one', upTo: 'base' }))).toBe(
        'INVALID_ARGUMENT',
      )
      const squashed = await squashSnapshot(store, 'two', { upTo: 'one', all: true })
      expect(squashed).toMatchObject({ id: two.id, layers: 2, squashed: 2, others: [one.id] })
      expect((await store.describe('one')).layers.length).toBe(1)
      expect(await code(packSnapshot(store, 'two', { layout: 'flat', workingSet: 'x' }))).toBe(
        'INVALID_ARGUMENT',
      )
      expect(await packSnapshot(store, 'two', { layout: 'packed', all: true })).toMatchObject({
        layers: 2,
        packed: 2,
        others: [one.id],
      })
      expect(await packSnapshot(store, 'two')).toMatchObject({ packed: 0, dataPages: 0 })
      await store.gc()
      expect((await image('one')).equals(imageOf([a, b]))).toBe(true)
      expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
      expect(await clean()).toEqual([])
    })

    test('working sets are kept beside a snapshot by name, exported first with their pages, and fit one image only', async () => {
      const { base, two } = await chain()
      const workingSet: WorkingSet = {
        image: two.id,
        pages,
        recordedAtMs: 1,
        windowMs: 2,
        readOnly: pageSetFromPages([40, 41, 3, 7]),
        written: pageSetFromPages([20]),
        groups: [
          { atMs: 1, set: pageSetFromPages([41, 40]) },
          { atMs: 2, set: pageSetFromPages([3]) },
        ],
        notes: {},
      }
      await store.saveWorkingSet('two', 'hello', { ...workingSet, windowMs: 99 })
      await store.saveWorkingSet('two', 'other', workingSet)
      const entry = await store.saveWorkingSet('two', 'hello', workingSet)
      expect(entry).toMatchObject({ id: two.id, tags: ['two', 'latest'] })
      expect((await store.describe('two')).workingSets.map(({ name }) => name)).toEqual(['other', 'hello'])
      expect(await code(store.saveWorkingSet('one', 'hello', workingSet))).toBe('IMAGE_MISMATCH')
      expect(await code(store.saveWorkingSet('two', '../x', workingSet))).toBe('INVALID_ARGUMENT')
      expect(await code(store.removeWorkingSet('two', 'none'))).toBe('NOT_FOUND')
      await store.removeWorkingSet('two', 'other')
      await store.gc()
      expect((await image('two')).equals(imageOf([a, b, c]))).toBe(true)
      expect(await clean()).toEqual([])

      const path = join(it.scratch, 'hot.tar')
      expect(await code(store.exportTo(['two', 'base'], path, { workingSet: 'hello' }))).toBe('NOT_FOUND')
      await store.exportTo(['two'], path, { workingSet: 'hello' })
      const other = await make()
      try {
        await other.store.importFrom(path)
        const opened = await other.store.open('two')
        const kept = await readWorkingSet(opened.workingSetFiles[0]?.path as string)
        expect(kept).toEqual(workingSet)
        await opened[Symbol.asyncDispose]()
        expect((await other.store.fsck()).findings).toEqual([])
      } finally {
        await other.close()
      }
      // In the archive the pages come before any layer, in the order of first touch.
      const names = execFileSync('tar', ['tf', path], { encoding: 'utf8' }).split('\n')
      const out = join(it.scratch, 'unpacked')
      mkdirSync(out)
      execFileSync('tar', ['xf', path, '-C', out])
      const index = JSON.parse(readFileSync(join(out, 'index.json'), 'utf8')) as {
        manifests: { mediaType: string; digest: string }[]
      }
      const hot = index.manifests.find(({ mediaType }) => mediaType.includes('hot-pages'))?.digest.slice(7)
      const [bottom] = (await store.describe('two')).layers
      const place = (hex: string | undefined) => names.indexOf(`blobs/sha256/${hex}`)
      expect(place(hot)).toBeGreaterThan(0)
      expect(place(hot)).toBeLessThan(place(bottom?.digest.slice(7)))
      const hotLayer = await readLayer(join(out, `blobs/sha256/${hot}`))
      expect(hotLayer).toMatchObject({ image: two.id, parent: two.id, layout: 'packed' })
      const expected = imageOf([a, b, c])
      const isData = (page: number) => expected[page * pageBytes] !== 0
      expect(
        storedRuns(hotLayer.index).flatMap(({ start, count }) =>
          Array.from({ length: count }, (_, i) => start + i),
        ),
      ).toEqual([40, 41, 3, 7, 20].filter(isData))
      // GNU tar and we agree on every byte, holes included.
      for (const name of names.filter((it) => /sha256\/./.test(it))) {
        const hex = name.slice(-64)
        expect(
          createHash('sha256')
            .update(readFileSync(join(out, name)))
            .digest('hex'),
        ).toBe(hex)
      }
      expect(base.id).not.toBe(two.id)
    })

    test('du tells data, zero, inherited, duplicate and really changed pages of each layer', async () => {
      const plan = (byte: number | undefined): Plan =>
        Array.from({ length: pages }, (_, page) => (page < 8 ? byte : undefined))
      const base = await addSnapshot(store, plan(5), { tags: ['base'] })
      // Writes four pages as they were, four new ones, and two zeros where zeros are.
      const child: Plan = Array.from({ length: pages }, (_, page) =>
        page < 4 ? 5 : page < 8 ? 9 : page < 10 ? 0 : undefined,
      )
      await addSnapshot(store, child, { parent: base.id, tags: ['child'] })
      const rows = await store.usage({ deep: true })
      expect(rows).toMatchObject([
        {
          dataPages: 8,
          zeroPages: pages - 8,
          inheritedPages: 0,
          duplicatePages: 8,
          changedPages: 8,
          usedBy: 2,
        },
        {
          dataPages: 8,
          zeroPages: 2,
          inheritedPages: pages - 10,
          duplicatePages: 8,
          changedPages: 4,
          usedBy: 1,
        },
      ])
      expect((await store.usage({ ref: 'base' })).map(({ duplicatePages }) => duplicatePages)).toEqual([null])
    })

    test('whatever is aborted leaves the store as it was', async () => {
      await chain()
      const before = await store.list()
      const signal = AbortSignal.abort()
      const staging = await store.stage()
      const ready = await draft(staging.directory, a)
      expect(await code(store.commit(ready, { signal }))).toBe('INTERRUPTED')
      await staging[Symbol.asyncDispose]()
      expect(await code(store.exportTo(['two'], join(it.scratch, 'no.tar'), { signal }))).toBe('INTERRUPTED')
      expect(await code(store.fsck({ signal }))).toBe('INTERRUPTED')
      expect(await store.list()).toEqual(before)
      expect(await clean()).toEqual([])
    })

    test('staging is private, and gone when it is disposed', async () => {
      const staging = await store.stage()
      mkdirSync(join(staging.directory, 'anything'))
      await store.gc()
      mkdirSync(join(staging.directory, 'still-there'))
      await staging[Symbol.asyncDispose]()
      expect(await clean()).toEqual([])
    })
  })
}
