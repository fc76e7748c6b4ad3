import { join } from 'node:path'
import type { Descriptor } from '../content/descriptors.js'
import { isVarveError, VarveError } from '../errors.js'
import type { Holder } from '../sys/holder.js'
import { gcTurn } from './gc-turn.js'
import { leaseToOther, leaseToSelf } from './leases.js'
import { storedPagesOf } from './manifest.js'
import type { Repository } from './repository.js'
import { withSnapshotLine } from './snapshot-line.js'
import type { WorkOptions } from './snapshot-store.js'
import type { KeptSnapshot, OpenSnapshot, SnapshotEntry } from './snapshot-types.js'

/** A lease first, then the blobs, each checked once per place. */
export function openSnapshot(
  repository: Repository,
  ref: string,
  options: WorkOptions,
): Promise<OpenSnapshot> {
  return leased(repository, ref, options, (entry, close) => openLeased(repository, entry, close, options))
}

/** A lease, and then no more than manifest and config are read. */
export function keepSnapshot(
  repository: Repository,
  ref: string,
  options: WorkOptions,
): Promise<KeptSnapshot> {
  return leased(repository, ref, options, async (entry, close) =>
    withSnapshotLine({
      ...(await repository.describeEntry(entry)),
      [Symbol.asyncDispose]: close,
    }),
  )
}

/** Runs work on a snapshot that this process has a lease on, which ends if the work fails. */
async function leased<T>(
  repository: Repository,
  ref: string,
  options: WorkOptions,
  work: (entry: SnapshotEntry, close: () => Promise<void>) => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const entry = await repository.resolve(ref)
    const lease = leaseToSelf(repository.paths.leases, entry.id, entry.manifest.digest)
    try {
      return await work(entry, async () => lease.end())
    } catch (error) {
      try {
        if (!isVarveError(error, 'NOT_FOUND') || attempt > 0) throw error
        // A gc may have run while the lease was written: when it is done, it has put everything back, or the
        // snapshot is gone.
        await using _turn = await gcTurn(repository.paths, options)
      } finally {
        lease.end()
      }
    }
  }
}

async function openLeased(
  repository: Repository,
  entry: SnapshotEntry,
  close: () => Promise<void>,
  options: WorkOptions,
): Promise<OpenSnapshot> {
  const description = await repository.describeEntry(entry)
  const { config, layers, extentMap, state, disks, workingSets } = description
  for (const descriptor of [...layers, extentMap, state, ...disks, ...workingSets.map((it) => it.descriptor)])
    await repository.blobs.assertRight(descriptor, options)
  const map = await repository.readMap(description)
  if (map.pages !== config.memoryPages)
    throw new VarveError(
      'IMAGE_MISMATCH',
      `extent map ${extentMap.digest} has ${map.pages} pages, the config of ${entry.id} ${config.memoryPages}`,
    )
  const path = ({ digest }: Descriptor) => repository.blobs.path(digest)
  return withSnapshotLine({
    ...description,
    files: layers.map((layer) => ({ path: path(layer), storedPages: storedPagesOf(layer, path(layer)) })),
    map,
    statePath: path(state),
    diskFiles: config.disks.map((disk, i) => ({ ...disk, path: path(disks[i] as Descriptor) })),
    workingSetFiles: workingSets.map(({ name, descriptor }) => ({ name, path: path(descriptor) })),
    flatPath: join(repository.paths.flat, entry.id),
    clonesDirectory: repository.paths.clones,
    stage: () => repository.stage(),
    isNoted: (finding) => repository.blobs.isNotedAbout(state.digest, finding),
    note: (finding) => repository.blobs.noteAbout(state.digest, finding),
    leaseTo: async (other: Holder) =>
      leaseToOther(repository.paths.leases, other, entry.id, entry.manifest.digest).path,
    [Symbol.asyncDispose]: close,
  })
}
