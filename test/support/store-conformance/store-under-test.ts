import type { FsckFinding, SnapshotEntry, SnapshotStore } from 'varve'
import { addSnapshot, readImage, someplan } from '../store-world.js'

export interface StoreUnderTest {
  readonly store: SnapshotStore
  /** The same place, opened anew as another process would. */
  reopen(): Promise<SnapshotStore>
  /** A directory for files of the test. */
  readonly scratch: string
  close(): Promise<void>
}

/** The store of the test that runs now, with what the tests ask of it. */
export type Current = () => StoreUnderTest & {
  /** Another store, empty. */
  make(): Promise<StoreUnderTest>
  image(ref: string, from?: SnapshotStore): Promise<Buffer>
  clean(): Promise<readonly FsckFinding[]>
  /** base ← one ← two */
  chain(): Promise<Record<'base' | 'one' | 'two', SnapshotEntry>>
}

export const [a, b, c] = [someplan(1), someplan(2), someplan(3)] as const

export function withQuestions(it: StoreUnderTest, make: () => Promise<StoreUnderTest>): ReturnType<Current> {
  const { store, scratch } = it
  return {
    ...it,
    make,
    image: (ref, from = store) => readImage(from, ref, scratch),
    clean: async () => (await store.fsck()).findings,
    chain: async () => {
      const base = await addSnapshot(store, a, { tags: ['base'], disk: 'disk of base' })
      const one = await addSnapshot(store, b, { parent: base.id, tags: ['one'], disk: 'disk of one' })
      const two = await addSnapshot(store, c, { parent: one.id, tags: ['two', 'latest'] })
      return { base, one, two }
    },
  }
}
