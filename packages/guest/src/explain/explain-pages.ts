import { isVarveError } from 'varve'
import type { MemoryRegion } from 'varve/state-files'
import type { WorkingSet } from 'varve/working-sets'
import type { GuestAgent } from '../agent/guest-agent.js'
import { maxResourceBytes } from './explain-limits.js'
import { explainSet } from './explain-set.js'
import type { Explanation } from './explanation.js'
import { guestFrames } from './guest-frames.js'

/** What is asked of the guest. */
export interface ExplainOptions {
  /**
   * Whether to name the page cache of files that no process maps: the agent looks at all files of the root's
   * file system. That reads no file, but many inodes. Default: true.
   */
  readonly files?: boolean
  /** For each question to the guest. Default: two minutes. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Says who in the guest has the pages of a set: processes with their mappings, files, parts of the kernel.
 * `agent` is that of a machine that was restored from the set's image; the answer is of now, so a machine
 * that has not worked yet tells what the snapshot has. `regions` are those of the image's state file
 * (`readStateFile` in `varve/state-files`). Errors: those of the agent's calls; GUEST_PROTOCOL for a report
 * that is broken or beyond the bounds of docs/formats/page-owners.md.
 */
export async function explainPages(
  agent: GuestAgent,
  set: Pick<WorkingSet, 'pages' | 'readOnly' | 'written'>,
  regions: readonly MemoryRegion[],
  options: ExplainOptions = {},
): Promise<Explanation> {
  const { files = true, timeoutMs = 120_000, signal } = options
  const ask = { timeoutMs, signal }
  const resources = await unlessMissing(agent.readFile('/proc/iomem', { ...ask, maxBytes: maxResourceBytes }))
  await using frameFlags = await unlessMissing(agent.get('/proc/kpageflags', ask))
  const report = {
    owners: agent.pageOwners({ ...ask, filesBelow: files ? '/' : undefined }),
    frameFlags: frameFlags?.content,
    resources,
  }
  return await explainSet(set, set.pages, guestFrames(regions), report, { signal })
}

/** A guest's kernel may be built without these. */
async function unlessMissing<Value>(asked: Promise<Value>): Promise<Value | undefined> {
  try {
    return await asked
  } catch (error) {
    if (isVarveError(error, 'GUEST_REFUSED') && error.details.errno === 2) return undefined
    throw error
  }
}
