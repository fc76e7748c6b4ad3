import { type Descriptor, type SnapshotStore, VarveError } from 'varve'

/** What snapshots have beside memory layers, each blob once: how many, and their sizes (of sparse disks: in full). */
export async function otherBlobs(
  store: SnapshotStore,
  ref: string | undefined,
): Promise<{ readonly blobs: number; readonly bytes: number }> {
  const entries = ref === undefined ? await store.list() : [await store.resolve(ref)]
  const blobs = new Map<string, number>()
  const add = ({ digest, size }: Descriptor) => blobs.set(digest, size)
  for (const { id } of entries)
    try {
      const { entry, extentMap, state, disks, workingSets, others } = await store.describe(id)
      for (const it of [entry.manifest, extentMap, state, ...disks, ...others]) add(it)
      for (const { descriptor } of workingSets) add(descriptor)
    } catch (error) {
      // A damaged manifest: fsck says so, and the others still count.
      if (!(error instanceof VarveError)) throw error
    }
  return { blobs: blobs.size, bytes: [...blobs.values()].reduce((sum, size) => sum + size, 0) }
}
