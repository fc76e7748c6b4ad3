import { createHash } from 'node:crypto'
import type { BlobSource, Digest } from 'varve'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

/** A place of one test, and how to take it away again. */
export interface TestPlace<Source> extends AsyncDisposable {
  readonly source: Source
}

export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export const blobOf = (bytes: Uint8Array) => ({ digest: digestOf(bytes), sizeBytes: bytes.length })

/** All of it. */
export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** 3 MiB and a bit: more than one piece of any buffer. No two blocks are equal. */
const large = Buffer.from(Uint32Array.from({ length: 786_433 }, (_, i) => i).buffer)

/**
 * What every BlobSource does: the contract of its doc comment. `listsOnlyNamed`: of a place that lists only
 * what its references name; then each blob is looked at by itself.
 */
export function blobSourceSuite(
  name: string,
  open: () => Promise<TestPlace<BlobSource>>,
  { listsOnlyNamed = false }: { readonly listsOnlyNamed?: boolean } = {},
): void {
  describe(`blobs of ${name}`, () => {
    let place: TestPlace<BlobSource>
    let source: BlobSource
    beforeEach(async () => {
      place = await open()
      source = place.source
    })
    afterEach(() => place[Symbol.asyncDispose]())

    /** `digests` are here, and nothing else as far as the place can tell. */
    async function expectListed(digests: readonly Digest[]): Promise<void> {
      if (!listsOnlyNamed) return expect((await collected(source.list())).sort()).toEqual([...digests].sort())
      for (const digest of digests) expect(await source.stat(digest)).toBeDefined()
      expect(await collected(source.list())).toEqual([])
    }

    test.each([
      ['none', Buffer.alloc(0)],
      ['a few', Buffer.from('a few bytes')],
      ['many', large],
    ])('of %s bytes come back as they were put', async (_, bytes) => {
      const blob = blobOf(bytes)
      expect(await source.stat(blob.digest)).toBeUndefined()
      await source.put(blob, [bytes])
      expect(await source.stat(blob.digest)).toEqual({ sizeBytes: bytes.length })
      await using opened = await source.open(blob.digest)
      expect(opened.sizeBytes).toBe(bytes.length)
      const read = await opened.read({ offsetBytes: 0, lengthBytes: bytes.length })
      expect(bytes.equals(read)).toBe(true)
      await expectListed([blob.digest])
    })

    test('may come in pieces, and be read in parts', async () => {
      const pieces = [
        large.subarray(0, 1),
        Buffer.alloc(0),
        large.subarray(1, 70_000),
        large.subarray(70_000),
      ]
      await source.put(blobOf(large), pieces)
      await using opened = await source.open(digestOf(large))
      for (const [offsetBytes, lengthBytes] of [
        [0, 1],
        [4095, 2],
        [1_000_000, 1_500_000],
        [large.length - 1, 1],
        [large.length, 0],
      ] as const) {
        const read = await opened.read({ offsetBytes, lengthBytes })
        expect(large.subarray(offsetBytes, offsetBytes + lengthBytes).equals(read)).toBe(true)
      }
    })

    test.each([
      [0, large.length + 1],
      [large.length, 1],
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [0, Number.NaN],
      [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ])('no bytes outside of a blob are made up: %d+%d', async (offsetBytes, lengthBytes) => {
      await source.put(blobOf(large), [large])
      await using opened = await source.open(digestOf(large))
      await expect(opened.read({ offsetBytes, lengthBytes })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      })
    })

    test('one that is not there is NOT_FOUND', async () => {
      await expect(source.open(digestOf(large))).rejects.toMatchObject({ code: 'NOT_FOUND' })
      expect(await source.stat(digestOf(large))).toBeUndefined()
      expect(await source.remove(digestOf(large))).toBe(false)
    })

    const bytes = Buffer.from('0123456789')
    test.each([
      ['other bytes of the same length', blobOf(bytes), [Buffer.from('012345678x')]],
      ['fewer bytes', blobOf(bytes), [bytes.subarray(0, 9)]],
      ['more bytes', blobOf(bytes), [bytes, Buffer.from('a')]],
      ['no bytes', blobOf(bytes), []],
      ['a size that is too small', { digest: digestOf(bytes), sizeBytes: 9 }, [bytes]],
      ['a size that is too large', { digest: digestOf(bytes), sizeBytes: 11 }, [bytes]],
    ])('%s are CHECKSUM_MISMATCH, and nothing has changed', async (_, blob, content) => {
      await expect(source.put(blob, content)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
      expect(await source.stat(blob.digest)).toBeUndefined()
      await expectListed([])
    })

    test('content that never ends is given up once it is longer than the blob', async () => {
      let taken = 0
      const endless = function* () {
        for (;;) {
          taken++
          yield bytes
        }
      }
      await expect(source.put(blobOf(bytes), endless())).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
      expect(taken).toBe(2)
      await expectListed([])
    })

    test('content that fails ends the put with its error, and leaves nothing', async () => {
      const failing = async function* () {
        yield bytes.subarray(0, 5)
        throw new Error('the line is dead')
      }
      await expect(source.put(blobOf(bytes), failing())).rejects.toThrow('the line is dead')
      await expectListed([])
      await source.put(blobOf(bytes), [bytes])
      await expectListed([digestOf(bytes)])
    })

    test('one that is there stays, whoever puts it again, and with what', async () => {
      await source.put(blobOf(bytes), [bytes])
      await source.put(blobOf(bytes), [bytes])
      await source.put(blobOf(bytes), [Buffer.from('other')]).catch(() => {})
      await using opened = await source.open(digestOf(bytes))
      expect(bytes.equals(await opened.read({ offsetBytes: 0, lengthBytes: 10 }))).toBe(true)
    })

    test('many may be put at once, the same one too', async () => {
      const contents = Array.from({ length: 8 }, (_, i) => Buffer.from(`blob ${i % 4}`))
      await Promise.all(contents.map((it) => source.put(blobOf(it), [it])))
      await expectListed(contents.slice(0, 4).map(digestOf))
    })

    test('one that was removed is gone, and can be put again', async () => {
      await source.put(blobOf(bytes), [bytes])
      expect(await source.remove(digestOf(bytes))).toBe(true)
      expect(await source.remove(digestOf(bytes))).toBe(false)
      expect(await source.stat(digestOf(bytes))).toBeUndefined()
      await source.put(blobOf(bytes), [bytes])
      expect(await source.stat(digestOf(bytes))).toEqual({ sizeBytes: 10 })
    })

    test('nothing is done once the signal is aborted', async () => {
      const signal = AbortSignal.abort()
      const interrupted = { code: 'INTERRUPTED' }
      await expect(source.put(blobOf(bytes), [bytes], { signal })).rejects.toMatchObject(interrupted)
      await expect(source.stat(digestOf(bytes), { signal })).rejects.toMatchObject(interrupted)
      await source.put(blobOf(bytes), [bytes])
      await expect(source.open(digestOf(bytes), { signal })).rejects.toMatchObject(interrupted)
      await expect(source.remove(digestOf(bytes), { signal })).rejects.toMatchObject(interrupted)
      await expectListed([digestOf(bytes)])
    })
  })
}
