import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { addSnapshot, code, draft, goldenState, imageOf, pages } from '../store-world.js'
import { a, b, type Current, c } from './store-under-test.js'

/** What is committed is found again: by tags, ids and their beginnings, and by another process. */
export function storeNames(current: Current): void {
  test('what was committed is listed, resolved and read back, byte for byte, also by another process', async () => {
    const { store, reopen, image, clean, chain } = current()
    const { base, one, two } = await chain()
    const other = await reopen()
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
    const { store, chain } = current()
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
    const { store, chain } = current()
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
    const { store, chain } = current()
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
    const { store, chain } = current()
    const { one } = await chain()
    await store.tag('one', 'latest')
    expect(await code(store.removeTag(one.id))).toBe('NOT_FOUND')
    expect((await store.removeTag('latest')).tags).toEqual(['one'])
    await store.tag('one', 'again')
    expect(await store.removeSnapshot('again')).toMatchObject({ id: one.id, tags: [] })
    expect(await code(store.resolve('one'))).toBe('NOT_FOUND')
  })

  test('a commit over a parent that is not there, or with a layer of something else, changes nothing', async () => {
    const { store, clean, chain } = current()
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
}
