import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { flattenSnapshot, type LocalStore, openLocalStore } from 'varve'
import { flatten, packLayer, readLayer, squashLayers } from 'varve/layers'
import { writeWorkingSet } from 'varve/working-sets'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { addSnapshot, imageOf, pages, readImage, someplan } from '../support/store-world.js'

// Mounting needs root. Without root these tests are reported as skipped.
const isRoot = process.geteuid?.() === 0
if (!isRoot) console.error('NOT RUN: what each verb says on a full disk: it mounts a tmpfs, which needs root')

let directory: string
let small: string
let store: LocalStore
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-no-space-'))
  small = join(directory, 'small')
  mkdirSync(small)
  if (!isRoot) return
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'tmpfs', small])
  store = await openLocalStore(join(small, 'store'), { create: true })
  const base = await addSnapshot(store, someplan(1), { tags: ['base'] })
  await addSnapshot(store, someplan(2), { parent: base.id, tags: ['child'] })
})
afterEach(() => {
  if (isRoot) execFileSync('umount', [small])
  rmSync(directory, { recursive: true })
})

/** Leaves this many blocks: enough for names and for a lease, which must work first. */
function fill(blocks: number): void {
  const { bavail, bsize } = statfsSync(small)
  writeFileSync(join(small, 'ballast'), Buffer.alloc((bavail - blocks) * bsize))
}

const names = () => readdirSync(small, { recursive: true, encoding: 'utf8' }).sort()

test.runIf(isRoot)(
  'every verb says WRITE_FAILED on a full disk, leaves nothing, and works once there is room',
  async () => {
    const set = { starts: Uint32Array.of(0), counts: Uint32Array.of(pages), pages }
    const none = { starts: new Uint32Array(), counts: new Uint32Array(), pages: 0 }
    const { id } = await store.resolve('child')
    const workingSet = {
      ...{ image: id, pages, recordedAtMs: 0, windowMs: 0, readOnly: set, written: none, groups: [] },
      notes: { text: 'x'.repeat(60_000) },
    }
    const archive = join(directory, 'all.tar')
    await store.exportTo(['base', 'child'], archive)
    await using snapshot = await store.open('child')
    const layers = await Promise.all(snapshot.files.map(({ path }) => readLayer(path)))
    const out = (name: string) => join(small, name)
    const verbs: Record<string, (name: string) => Promise<unknown>> = {
      flatten: (name) => flatten(snapshot, out(name)),
      'flatten into the store': () => flattenSnapshot(snapshot),
      squash: (name) => squashLayers(layers, out(name)),
      pack: (name) => packLayer(layers[0] as (typeof layers)[0], out(name), { layout: 'packed' }),
      export: (name) => store.exportTo(['child'], out(name)),
      import: () => store.importFrom(archive),
      'a working set': (name) => writeWorkingSet(out(name), workingSet),
      'a working set in the store': () => store.saveWorkingSet('child', 'set', workingSet),
    }
    fill(6)
    const before = names()
    for (const [verb, work] of Object.entries(verbs)) {
      const error = await work(verb).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error, verb).toMatchObject({
        code: 'WRITE_FAILED',
        details: { errno: 'ENOSPC', path: expect.stringContaining(small) },
        remedy: expect.stringContaining('make room'),
      })
      expect(
        names().filter((name) => !/\.lock$|\/gc$/.test(name)),
        verb,
      ).toEqual(before)
    }
    rmSync(join(small, 'ballast'))
    for (const [verb, work] of Object.entries(verbs)) {
      await work(verb)
      rmSync(out(verb), { force: true })
    }
    expect(await readImage(store, 'child', directory)).toEqual(imageOf([someplan(1), someplan(2)]))
    // The manifest before the working set was kept is leased by this test.
    expect((await store.fsck()).findings.filter(({ severity }) => severity === 'error')).toEqual([])
  },
)
