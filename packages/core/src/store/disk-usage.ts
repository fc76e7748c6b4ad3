import type { BigIntStats } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Descriptor } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { measureCopies } from './derived-copies.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'
import type { DiskUsage } from './store-reports.js'

/** As `stat` counts blocks. */
const blockBytes = 512n

/** What the file system says of the store's directory; the parts are disjoint and add up to the total. */
export async function measureDisk(
  repository: Repository,
  { ref, signal }: WorkOptions & { readonly ref?: string | undefined } = {},
): Promise<DiskUsage> {
  const { layers, others } = await blobsOf(repository, ref)
  const copies = await measureCopies(repository, ref === undefined ? {} : { ref })
  const partOf = new Map<string, 'layers' | 'others' | 'copies'>()
  for (const { digest } of others.values()) partOf.set(repository.blobs.path(digest), 'others')
  for (const { digest } of layers.values()) partOf.set(repository.blobs.path(digest), 'layers')
  for (const { path } of copies) partOf.set(path, 'copies')
  const bytes = { layers: 0n, others: 0n, copies: 0n, rest: 0n }
  // A file with several names takes its blocks once.
  const seen = new Set<string>()
  await walk(repository.paths.directory, (path, stat) => {
    throwIfAborted(signal, 'du')
    const { dev, ino, nlink, blocks } = stat
    if (!stat.isDirectory() && nlink > 1n) {
      const inode = `${dev} ${ino}`
      if (seen.has(inode)) return
      seen.add(inode)
    }
    bytes[partOf.get(path) ?? 'rest'] += blocks * blockBytes
  })
  const total = bytes.layers + bytes.others + bytes.copies + bytes.rest
  return {
    layersBytes: Number(bytes.layers),
    copiesBytes: Number(bytes.copies),
    others: {
      blobs: others.size,
      sizeBytes: [...others.values()].reduce((sum, { size }) => sum + size, 0),
      diskBytes: Number(bytes.others),
    },
    restBytes: ref === undefined ? Number(bytes.rest) : null,
    totalBytes: ref === undefined ? Number(total) : null,
  }
}

/** Each blob once. */
async function blobsOf(repository: Repository, ref: string | undefined) {
  const entries = ref === undefined ? await repository.list() : [await repository.resolve(ref)]
  const layers = new Map<string, Descriptor>()
  const others = new Map<string, Descriptor>()
  for (const { id } of entries)
    try {
      const about = await repository.describe(id)
      for (const it of about.layers) layers.set(it.digest, it)
      const { entry, extentMap, state, disks, workingSets } = about
      const sets = workingSets.map(({ descriptor }) => descriptor)
      for (const it of [entry.manifest, extentMap, state, ...disks, ...about.others, ...sets])
        others.set(it.digest, it)
    } catch (error) {
      // A damaged manifest: fsck says so, and the others still count.
      if (!(error instanceof VarveError)) throw error
    }
  return { layers, others }
}

/** The directory itself and all in it. Links are not followed, and what is removed meanwhile is left out. */
async function walk(path: string, visit: (path: string, stat: BigIntStats) => void): Promise<void> {
  const gone = (error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  }
  const stat = await lstat(path, { bigint: true }).catch(gone)
  if (stat === undefined) return
  visit(path, stat)
  if (!stat.isDirectory()) return
  for (const name of (await readdir(path).catch(gone)) ?? []) await walk(join(path, name), visit)
}
