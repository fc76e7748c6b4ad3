import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { type Mapping, mappingsOf } from '../sys/mappings.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { recordPagemap } from '../working-set/pagemap-recorder.js'
import type { RecordedPages } from '../working-set/recording.js'

/**
 * What a VM has touched since it was loaded, by its page tables: pages of its memory file were read, private
 * copies written. The machine should be paused. RECORDER_UNRELIABLE if its memory comes from no file: it was
 * booted here (all of its memory is private), or a page server feeds it.
 */
export async function touchedSinceLoad(
  { id, identity }: { readonly id: string; readonly identity: ProcessIdentity },
  pages: number,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<RecordedPages> {
  const mapping = memoryMapping(identity.pid, pages)
  if (mapping === undefined)
    throw new VarveError('RECORDER_UNRELIABLE', `the memory of ${id} does not come from a memory file`, {
      remedy: 'restore it with the file engine first; the pages that it then touches are its working set',
    })
  const [start, end] = [mapping.start, mapping.end].map((it) => it.toString(16))
  // Not the path in the mapping: that is another one in a jail.
  const path = `/proc/${identity.pid}/map_files/${start}-${end}`
  const target = { vmm: identity, files: [{ path, storedPages: pages }] }
  await using recording = await recordPagemap(target, { signal, holdFaultAround: false })
  return await recording.stop()
}

/** The first mapping of the file that has as many bytes mapped privately as the machine has memory. */
function memoryMapping(pid: number, pages: number): Mapping | undefined {
  const files = new Map<string, Mapping[]>()
  for (const mapping of mappingsOf(pid)) {
    if (!mapping.private || mapping.inode === '0') continue
    const key = `${mapping.device.major}:${mapping.device.minor}:${mapping.inode}`
    files.set(key, [...(files.get(key) ?? []), mapping])
  }
  const bytesOf = (mappings: readonly Mapping[]) => mappings.reduce((sum, it) => sum + it.end - it.start, 0)
  return [...files.values()].find((mappings) => bytesOf(mappings) === pages * pageSizeBytes)?.[0]
}
