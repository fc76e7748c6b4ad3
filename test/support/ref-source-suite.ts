import { type BlobSource, type Descriptor, type RefSource, referencedSnapshot, referenceTo } from 'varve'
import { manifestToJson, mediaTypes } from 'varve/testing'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { blobOf, collected, type TestPlace } from './blob-source-suite.js'

export interface PlaceOfSnapshots {
  readonly blobs: BlobSource
  readonly refs: RefSource
}

/** The target of a reference to snapshot number `number`, whose manifest is in the place. */
async function targetIn({ blobs }: PlaceOfSnapshots, number: number): Promise<Descriptor> {
  const put = async (bytes: Buffer) => {
    const { digest, sizeBytes } = blobOf(bytes)
    await blobs.put({ digest, sizeBytes }, [bytes])
    return { digest, size: sizeBytes }
  }
  const config = await put(Buffer.from(JSON.stringify({ parent: parentOf(number) })))
  const other = await put(Buffer.from(`a blob of snapshot ${number}`))
  // A registry takes as a manifest only what is one, and whose blobs are there.
  const manifest = manifestToJson({
    id: idOf(number),
    createdAt,
    config: { mediaType: mediaTypes.config, ...config },
    layers: [{ mediaType: mediaTypes.layer, ...other }],
    extentMap: { mediaType: mediaTypes.extentMap, ...other },
    state: { mediaType: mediaTypes.state, ...other },
    disks: [],
    workingSets: [],
    others: [],
  })
  return targetOf(number, await put(manifest))
}

const createdAt = '2026-01-02T03:04:05.678Z'
const idOf = (number: number) => `${number}`.padStart(32, 'a')
const parentOf = (number: number) => (number === 0 ? null : 'b'.repeat(32))

function targetOf(number: number, { digest, size }: Pick<Descriptor, 'digest' | 'size'>): Descriptor {
  return referenceTo({
    id: idOf(number),
    parent: parentOf(number),
    createdAt,
    manifest: { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size },
  })
}

/** What every RefSource does: the contract of its doc comment. */
export function refSourceSuite(name: string, open: () => Promise<TestPlace<PlaceOfSnapshots>>): void {
  describe(`references of ${name}`, () => {
    let place: TestPlace<PlaceOfSnapshots>
    let refs: RefSource
    let first: Descriptor
    let second: Descriptor
    beforeEach(async () => {
      place = await open()
      refs = place.source.refs
      first = await targetIn(place.source, 0)
      second = await targetIn(place.source, 1)
    })
    afterEach(() => place[Symbol.asyncDispose]())

    const all = async () => (await collected(refs.list())).sort((a, b) => (a.name < b.name ? -1 : 1))

    test('a name means nothing, then what it was given, then something else, then nothing again', async () => {
      expect(await refs.read('latest')).toBeUndefined()
      expect(await refs.compareAndSet('latest', null, first)).toBe(true)
      expect(await refs.read('latest')).toEqual(first)
      expect(await refs.compareAndSet('latest', first.digest, second)).toBe(true)
      expect(await refs.read('latest')).toEqual(second)
      expect(await refs.compareAndSet('latest', second.digest, null)).toBe(true)
      expect(await refs.read('latest')).toBeUndefined()
      expect(await all()).toEqual([])
    })

    test('what it says of the snapshot comes back', async () => {
      await refs.compareAndSet('child', null, second)
      expect(referencedSnapshot((await refs.read('child')) as Descriptor)).toEqual({
        id: `${'a'.repeat(31)}1`,
        parent: 'b'.repeat(32),
        createdAt: '2026-01-02T03:04:05.678Z',
        manifest: { mediaType: second.mediaType, digest: second.digest, size: second.size },
      })
    })

    test('a change that expects something else changes nothing', async () => {
      expect(await refs.compareAndSet('latest', first.digest, second)).toBe(false)
      expect(await refs.read('latest')).toBeUndefined()
      await refs.compareAndSet('latest', null, first)
      expect(await refs.compareAndSet('latest', null, second)).toBe(false)
      expect(await refs.compareAndSet('latest', second.digest, second)).toBe(false)
      expect(await refs.compareAndSet('latest', second.digest, null)).toBe(false)
      expect(await refs.compareAndSet('latest', null, null)).toBe(false)
      expect(await refs.read('latest')).toEqual(first)
    })

    test('nothing may become nothing, and a target itself', async () => {
      expect(await refs.compareAndSet('latest', null, null)).toBe(true)
      await refs.compareAndSet('latest', null, first)
      expect(await refs.compareAndSet('latest', first.digest, first)).toBe(true)
      expect(await all()).toEqual([{ name: 'latest', target: first }])
    })

    test('several names may mean one snapshot, and each name is listed once', async () => {
      for (const [tag, target] of [
        ['one', first],
        ['two', second],
        ['three', first],
      ] as const)
        expect(await refs.compareAndSet(tag, null, target)).toBe(true)
      expect(await all()).toEqual([
        { name: 'one', target: first },
        { name: 'three', target: first },
        { name: 'two', target: second },
      ])
      await refs.compareAndSet('one', first.digest, null)
      expect((await all()).map((it) => it.name)).toEqual(['three', 'two'])
    })

    test('of many writers that expect the same, one wins', async () => {
      const targets = await Promise.all([...Array(10).keys()].map((i) => targetIn(place.source, i + 2)))
      const won = await Promise.all(targets.map((target) => refs.compareAndSet('latest', null, target)))
      expect(won.filter(Boolean)).toEqual([true])
      expect(await refs.read('latest')).toEqual(targets[won.indexOf(true)])
    })

    test('a manifest that is not in the place is NOT_FOUND', async () => {
      const missing = targetOf(3, { digest: `sha256:${'c'.repeat(64)}`, size: 3 })
      await expect(refs.compareAndSet('latest', null, missing)).rejects.toMatchObject({ code: 'NOT_FOUND' })
      expect(await refs.read('latest')).toBeUndefined()
    })

    test.each(['', '.', '../up', 'a/b', 'a b', 'x'.repeat(129), 'a'.repeat(32)])(
      'the name %j is refused',
      async (tag) => {
        const refused = { code: 'INVALID_ARGUMENT' }
        await expect(refs.read(tag)).rejects.toMatchObject(refused)
        await expect(refs.compareAndSet(tag, null, first)).rejects.toMatchObject(refused)
        expect(await all()).toEqual([])
      },
    )

    test.each<[string, (target: Descriptor) => unknown]>([
      ['of another media type', (it) => ({ ...it, mediaType: 'text/plain' })],
      ['without annotations', ({ annotations: _, ...it }) => it],
      ['that says of no snapshot', (it) => ({ ...it, annotations: { 'dev.varve.snapshot': 'none' } })],
      ['with a digest that is none', (it) => ({ ...it, digest: 'sha256:12' })],
    ])('a target %s is refused', async (_, change) => {
      const refused = { code: 'INVALID_ARGUMENT' }
      await expect(refs.compareAndSet('latest', null, change(first) as Descriptor)).rejects.toMatchObject(
        refused,
      )
      expect(await all()).toEqual([])
    })

    test('nothing is done once the signal is aborted', async () => {
      const interrupted = { code: 'INTERRUPTED' }
      const signal = AbortSignal.abort()
      await expect(refs.compareAndSet('latest', null, first, { signal })).rejects.toMatchObject(interrupted)
      await expect(refs.read('latest', { signal })).rejects.toMatchObject(interrupted)
      expect(await all()).toEqual([])
    })
  })
}
