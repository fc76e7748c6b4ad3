import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from '../../../errors.js'
import { readStateFile } from '../../../firecracker/state-file/read-state-file.js'
import { replaceRegions } from '../../../firecracker/state-file/replace-regions.js'
import { pagesByLayer } from '../../../layer/pages-by-layer.js'
import type { OpenSnapshot } from '../../../store/snapshot-types.js'
import { touchOrder } from '../../../working-set/working-set.js'
import type { Engine } from '../../engine.js'
import { warmFiles } from '../../page-cache/warm-files.js'
import { atMost } from '../../prefetch.js'
import { usageByPageTables } from '../../usage/usage-by-page-tables.js'
import { composedFile } from './composed-file.js'
import { type PatchPlan, planPatch } from './plan-patch.js'

/**
 * An experiment: Firecracker is given a state file with another list of memory regions, each of which
 * points to where its pages lie in one file of all layers. Snapshot versions up to 4.0.0 (Firecracker
 * 1.10.1) only, whose regions have offsets of their own. A device that reads or writes guest memory across
 * a cut fails: see docs/guides/engines.md.
 */
export const patchedEngine: Engine = {
  name: 'patched',
  usage: usageByPageTables,
  prepareShared: async (snapshot, { signal }) =>
    void (await composedFile(snapshot, patchOf(snapshot).plan.composed, { signal })),
  prepare: async (snapshot, { machine: launching, toPrefetch, phase, signal, onProgress }) => {
    const { state, plan } = patchOf(snapshot)
    const path = await phase('compose', () =>
      composedFile(snapshot, plan.composed, {
        signal,
        onProgress: (done, total) => onProgress?.(`composing, ${done} of ${total} pages`),
      }),
    )
    const files = [{ path, storedPages: plan.composed.pages }]
    const sets = toPrefetch === null ? [] : touchOrder(toPrefetch.workingSet)
    const report =
      toPrefetch &&
      warmFiles([{ path, sets: sets.flatMap((set) => pagesByLayer(plan.image, 1, set)) }], signal)
    if (report !== null && toPrefetch !== null && toPrefetch.budgetMs > 0)
      await phase('prefetch', () => atMost(report, toPrefetch.budgetMs))
    const statePath = join((await launching).paths.directory, 'patched.state')
    writeFileSync(statePath, state, { mode: 0o600, flag: 'wx' })
    return {
      memory: { backend: 'File', path },
      files: { files, map: plan.image },
      statePath,
      prefetch: report === null ? undefined : { report, resumeAfter: false },
    }
  },
}

/**
 * The state file to load, and what it counts on. VERSION_UNSUPPORTED if the
 * regions have no offsets of their own.
 */
export function patchOf({ statePath, map }: Pick<OpenSnapshot, 'statePath' | 'map'>): {
  readonly state: Uint8Array
  readonly plan: PatchPlan
} {
  const bytes = readFileSync(statePath)
  const { regions, fileOffsets, snapshotVersion, firecracker } = readStateFile(bytes)
  if (fileOffsets !== 'explicit')
    throw new VarveError(
      'VERSION_UNSUPPORTED',
      `the patched engine cannot be used with snapshot version ${snapshotVersion} (Firecracker ${firecracker}): its regions have no offsets, each lies in the memory file behind the one before it`,
      { remedy: 'use mapped, which maps layers with any version; offsets exist up to Firecracker 1.10.1' },
    )
  const plan = planPatch(regions, map)
  return { state: replaceRegions(bytes, plan.regions), plan }
}
