import { join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import type { Holder } from '../sys/holder.js'
import { gcTurn } from './gc-turn.js'
import { leaseToOther, leaseToSelf } from './leases.js'
import type { LocalStore } from './local-store.js'
import { storedPagesOf } from './manifest.js'
import type { Descriptor, KeptSnapshot, OpenSnapshot, SnapshotEntry, WorkOptions } from './store-types.js'

/** A lease first, then the blobs, each checked once per place. */
export function openSnapshot(store: LocalStore, ref: string, options: WorkOptions): Promise<OpenSnapshot> {
  return leased(store, ref, options, (entry, close) => openLeased(store, entry, close, options))
}

/** A lease, and then no more than manifest and config are read. */
export function keepSnapshot(store: LocalStore, ref: string, options: WorkOptions): Promise<KeptSnapshot> {
  return leased(store, ref, options, async (entry, close) => ({
    ...(await store.describeEntry(entry)),
    [Symbol.asyncDispose]: close,
  }))
}

/** Runs work on a snapshot that this process has a lease on, which ends if the work fails. */
async function leased<T>(
  store: LocalStore,
  ref: string,
  options: WorkOptions,
  work: (entry: SnapshotEntry, close: () => Promise<void>) => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const entry = await store.resolve(ref)
    const lease = leaseToSelf(store.paths.leases, entry.id, entry.manifest.digest)
    try {
      return await work(entry, async () => lease.end())
    } catch (error) {
      try {
        if (!isVarveError(error, 'NOT_FOUND') || attempt > 0) throw error
        // A gc may have run while the lease was written: when it is done, it has put everything back, or the
        // snapshot is gone.
        await using _turn = await gcTurn(store.paths, options)
      } finally {
        lease.end()
      }
    }
  }
}

async function openLeased(
  store: LocalStore,
  entry: SnapshotEntry,
  close: () => Promise<void>,
  options: WorkOptions,
): Promise<OpenSnapshot> {
  const description = await store.describeEntry(entry)
  const { config, layers, extentMap, state, disks, workingSets } = description
  for (const descriptor of [...layers, extentMap, state, ...disks, ...workingSets.map((it) => it.descriptor)])
    await store.blobs.assertRight(descriptor, options)
  const map = await store.readMap(description)
  if (map.pages !== config.memoryPages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `extent map ${extentMap.digest} has ${map.pages} pages, the config of ${entry.id} ${config.memoryPages}`,
    )
  const path = ({ digest }: Descriptor) => store.blobs.path(digest)
  return {
    ...description,
    files: layers.map((layer) => ({ path: path(layer), storedPages: storedPagesOf(layer, path(layer)) })),
    map,
    statePath: path(state),
    diskFiles: config.disks.map((disk, i) => ({ ...disk, path: path(disks[i] as Descriptor) })),
    workingSetFiles: workingSets.map(({ name, descriptor }) => ({ name, path: path(descriptor) })),
    flatPath: join(store.paths.flat, entry.id),
    clonesDirectory: store.paths.clones,
    stage: () => store.stage(),
    isNoted: (finding) => store.blobs.isNotedAbout(state.digest, finding),
    note: (finding) => store.blobs.noteAbout(state.digest, finding),
    leaseTo: async (other: Holder) =>
      leaseToOther(store.paths.leases, other, entry.id, entry.manifest.digest).path,
    [Symbol.asyncDispose]: close,
  }
}
