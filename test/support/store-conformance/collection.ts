import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { addSnapshot, code, draft, imageOf } from '../store-world.js'
import { a, b, type Current, c } from './store-under-test.js'

/** What stays and what goes: tags, leases, gc, staging, aborted work. */
export function storeCollection(current: Current): void {
  test('a commit without a tag can be leased to this process, until that says by a tag what it wants', async () => {
    const { store, reopen, clean } = current()
    const leaseTo = ['this process'] as const
    const kept = await addSnapshot(store, a, { leaseTo })
    const other = await reopen()
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
    const { store, chain } = current()
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
    const { store, image, chain } = current()
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

  test('a child can be taken of a snapshot without a tag, as long as it is leased', async () => {
    const { store, image } = current()
    const base = await addSnapshot(store, a)
    const lease = await store.open(base.id)
    await store.gc()
    const child = await addSnapshot(store, b, { parent: base.id, tags: ['child'] })
    await lease[Symbol.asyncDispose]()
    expect((await store.gc()).removedSnapshots).toEqual([base.id])
    expect((await image(child.id)).equals(imageOf([a, b]))).toBe(true)
  })

  test('aborted work leaves the store as it was', async () => {
    const { store, scratch, clean, chain } = current()
    await chain()
    const before = await store.list()
    const signal = AbortSignal.abort()
    const staging = await store.stage()
    const ready = await draft(staging.directory, a)
    expect(await code(store.commit(ready, { signal }))).toBe('INTERRUPTED')
    await staging[Symbol.asyncDispose]()
    expect(await code(store.exportTo(['two'], join(scratch, 'no.tar'), { signal }))).toBe('INTERRUPTED')
    expect(await code(store.fsck({ signal }))).toBe('INTERRUPTED')
    expect(await store.list()).toEqual(before)
    expect(await clean()).toEqual([])
  })

  test('staging is private, and gone when it is disposed', async () => {
    const { store, clean } = current()
    const staging = await store.stage()
    mkdirSync(join(staging.directory, 'anything'))
    await store.gc()
    mkdirSync(join(staging.directory, 'still-there'))
    await staging[Symbol.asyncDispose]()
    expect(await clean()).toEqual([])
  })
}
