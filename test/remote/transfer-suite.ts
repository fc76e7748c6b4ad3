import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listRemote, pullSnapshot, pushSnapshot, type RemotePlace, removeRemote } from '@varve/remote'
import { type LocalStore, openLocalStore } from 'varve'
import { emptyPageSet, pageRange, type WorkingSet } from 'varve/working-sets'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { TestPlace } from '../support/blob-source-suite.js'
import { addSnapshot, imageOf, pages, readImage, someplan } from '../support/store-world.js'

const emptySet: Omit<WorkingSet, 'image'> = {
  pages,
  recordedAtMs: 1,
  windowMs: 2,
  readOnly: emptyPageSet,
  written: emptyPageSet,
  groups: [],
  notes: {},
}

/** What a push and a pull do with any place. */
export function transferSuite(name: string, open: () => Promise<TestPlace<RemotePlace>>): void {
  describe(`snapshots in ${name}`, () => {
    let directory: string
    let place: RemotePlace
    let here: LocalStore
    let there: LocalStore
    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), 'varve-transfer-'))
      place = (await open()).source
      here = await openLocalStore(join(directory, 'here'), { create: true })
      there = await openLocalStore(join(directory, 'there'), { create: true })
    })
    afterEach(() => rmSync(directory, { recursive: true }))

    /** A base, a child of it, and a disk that both have. */
    async function family() {
      const disk = 'the disk of both'
      const base = await addSnapshot(here, someplan(1), { tags: ['base'], disk })
      const child = await addSnapshot(here, someplan(2), { tags: ['child'], parent: base.id, disk })
      return { base, child }
    }

    test('a pushed snapshot is pulled elsewhere with the same image, parent and disks', async () => {
      const { child } = await family()
      const pushed = await pushSnapshot(here, 'child', place, { tag: 'monday' })
      expect(pushed).toMatchObject({ id: child.id, tag: 'monday', presentBlobs: 0 })
      const { entry, sentBytes } = await pullSnapshot(place, 'monday', there, { tags: ['got'] })
      expect(entry).toMatchObject({ id: child.id, parent: child.parent, tags: ['got'] })
      expect(sentBytes).toBe(pushed.sentBytes)
      const image = await readImage(there, 'got', directory)
      expect(image.equals(imageOf([someplan(1), someplan(2)]))).toBe(true)
      expect(image.equals(await readImage(here, 'child', directory))).toBe(true)
      await using opened = await there.open('got')
      const [disk] = opened.diskFiles.map(({ path }) => readFileSync(path))
      expect(disk?.toString('utf8', 8192, 8192 + 16)).toBe('the disk of both')
      expect((await there.fsck()).findings).toEqual([])
    })

    test('a child sends only what its parent has not sent', async () => {
      await family()
      const base = await pushSnapshot(here, 'base', place, { tag: 'base' })
      const child = await pushSnapshot(here, 'child', place, { tag: 'child' })
      const { layers } = await here.describe('child')
      // The base's layer, the disk and the state, which is the same file in these.
      expect(child.presentBytes).toBeGreaterThan(layers[0]?.size as number)
      expect(child.sentBytes).toBeLessThan(base.sentBytes)
      const again = await pushSnapshot(here, 'child', place, { tag: 'child' })
      expect(again).toMatchObject({ sentBlobs: 0, sentBytes: 0, manifest: child.manifest })
      const first = await pullSnapshot(place, 'base', there)
      const second = await pullSnapshot(place, 'child', there)
      expect(second.presentBlobs).toBeGreaterThan(0)
      expect(first.sentBytes + second.sentBytes).toBe(base.sentBytes + child.sentBytes)
    })

    test('working sets come along, also later ones, and the manifest stays the same', async () => {
      const { base } = await family()
      const set = (start: number): WorkingSet => ({
        ...emptySet,
        image: base.id,
        readOnly: pageRange(start, 3),
      })
      await here.saveWorkingSet('base', 'hello', set(0))
      const first = await pushSnapshot(here, 'base', place, { tag: 'base' })
      await here.saveWorkingSet('base', 'world', set(8))
      await here.saveWorkingSet('base', 'hello', set(16))
      const second = await pushSnapshot(here, 'base', place, { tag: 'base' })
      expect(second.manifest).toBe(first.manifest)
      await pullSnapshot(place, 'base', there, { tags: ['base'] })
      const names = (await there.describe('base')).workingSets.map(({ name: it }) => it)
      expect(names.sort()).toEqual(['hello', 'world'])
      for (const it of ['hello', 'world'])
        expect(await there.readWorkingSet('base', it)).toEqual(await here.readWorkingSet('base', it))
      await pullSnapshot(place, 'base', here, { workingSets: false })
    })

    test('a second pull brings the working sets that were pushed since, and keeps those of the store', async () => {
      const { base } = await family()
      const set = (start: number): WorkingSet => ({
        ...emptySet,
        image: base.id,
        readOnly: pageRange(start, 3),
      })
      await here.saveWorkingSet('base', 'hello', set(0))
      await pushSnapshot(here, 'base', place, { tag: 'base' })
      await pullSnapshot(place, 'base', there, { tags: ['base'] })
      await there.saveWorkingSet('base', 'of-there', set(24))
      await here.saveWorkingSet('base', 'hello', set(16))
      await here.saveWorkingSet('base', 'world', set(8))
      await pushSnapshot(here, 'base', place, { tag: 'base' })
      const { entry } = await pullSnapshot(place, 'base', there)
      expect(entry.tags).toEqual(['base'])
      const { workingSets } = await there.describe('base')
      expect(workingSets.map(({ name: it }) => it).sort()).toEqual(['hello', 'of-there', 'world'])
      for (const it of ['hello', 'world'])
        expect(await there.readWorkingSet('base', it)).toEqual(await here.readWorkingSet('base', it))
      const again = await pullSnapshot(place, 'base', there)
      expect(again.entry).toEqual(entry)
      const { findings } = await there.fsck()
      // The manifests and the set that were replaced are garbage.
      expect(findings.filter(({ severity }) => severity !== 'garbage')).toEqual([])
    })

    test('a gc during a pull removes nothing that has arrived', async () => {
      await family()
      await pushSnapshot(here, 'child', place, { tag: 'child' })
      const blobs = new Proxy(place.blobs, {
        get: (target, key) => {
          const value = Reflect.get(target, key, target)
          if (key !== 'open') return typeof value === 'function' ? value.bind(target) : value
          return async (...args: Parameters<typeof target.open>) => {
            await there.gc()
            return target.open(...args)
          }
        },
      })
      const said: string[] = []
      const onProgress = (text: string) => said.push(text)
      await pullSnapshot({ ...place, blobs }, 'child', there, { tags: ['got'], onProgress })
      expect(said.filter((text) => text.includes('gc has removed'))).toEqual([])
      expect((await readImage(there, 'got', directory)).equals(imageOf([someplan(1), someplan(2)]))).toBe(
        true,
      )
      // The pull keeps no lease.
      await there.removeTag('got')
      expect((await there.gc()).removedSnapshots.length).toBe(1)
    })

    test('a reference that means another snapshot stays, unless it is to be replaced', async () => {
      const { base, child } = await family()
      await pushSnapshot(here, 'base', place, { tag: 'latest' })
      await expect(pushSnapshot(here, 'child', place, { tag: 'latest' })).rejects.toMatchObject({
        code: 'ALREADY_EXISTS',
      })
      expect(await listRemote(place)).toMatchObject([{ id: base.id, tags: ['latest'] }])
      await pushSnapshot(here, 'child', place, { tag: 'latest', replace: true })
      expect(await listRemote(place)).toMatchObject([{ id: child.id, tags: ['latest'] }])
      // Its id still finds it.
      expect((await pullSnapshot(place, base.id, there)).entry.id).toBe(base.id)
    })

    test('of two who push at once under one name, one is told that it has lost', async () => {
      await family()
      // All that both need is there: docs/notes/registries.md has what happens else.
      for (const ref of ['base', 'child']) await pushSnapshot(here, ref, place, { tag: ref })
      const pushes = await Promise.allSettled(
        ['base', 'child'].map((ref) => pushSnapshot(here, ref, place, { tag: 'latest' })),
      )
      const won = pushes.filter(({ status }) => status === 'fulfilled')
      const lost = pushes.filter(({ status }) => status === 'rejected')
      expect(won.length).toBe(1)
      expect(lost).toMatchObject([{ reason: { code: 'ALREADY_EXISTS' } }])
      const latest = (await listRemote(place)).find(({ tags }) => tags.includes('latest'))
      expect(won).toMatchObject([{ value: { id: latest?.id } }])
    })

    test('what is listed can be removed', async () => {
      const { base, child } = await family()
      await pushSnapshot(here, 'base', place, { tag: 'one' })
      await pushSnapshot(here, 'base', place, { tag: 'two' })
      await pushSnapshot(here, 'child', place, { tag: 'three' })
      const listed = await listRemote(place)
      expect(listed.map(({ id, parent, tags }) => ({ id, parent, tags }))).toEqual([
        { id: child.id, parent: base.id, tags: ['three'] },
        { id: base.id, parent: null, tags: ['one', 'two'] },
      ])
      await removeRemote(place, 'one')
      await removeRemote(place, 'three')
      expect((await listRemote(place)).map(({ tags }) => tags)).toEqual([['two']])
      await expect(removeRemote(place, 'one')).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await removeRemote(place, child.id)
      await expect(pullSnapshot(place, child.id, there)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await expect(pullSnapshot(place, 'one', there)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      await pullSnapshot(place, 'two', there)
    })

    test('an interrupted push leaves no reference, and goes on where it was', async () => {
      await family()
      const abort = new AbortController()
      const blobs = new Proxy(place.blobs, {
        get: (target, key) => {
          const value = Reflect.get(target, key, target)
          if (key !== 'put') return typeof value === 'function' ? value.bind(target) : value
          return async (...args: Parameters<typeof target.put>) => {
            await target.put(...args)
            abort.abort()
          }
        },
      })
      const pushing = pushSnapshot(here, 'child', { ...place, blobs }, { tag: 'child', signal: abort.signal })
      await expect(pushing).rejects.toMatchObject({ code: 'INTERRUPTED' })
      expect(await listRemote(place)).toEqual([])
      const report = await pushSnapshot(here, 'child', place, { tag: 'child' })
      expect(report.presentBlobs).toBeGreaterThan(0)
      await pullSnapshot(place, 'child', there)
    })
  })
}
