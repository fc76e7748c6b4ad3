import type { MapReport } from '../../mapper/map-into-vmm.js'
import { pageSizeBytes } from '../../memory/units.js'
import type { LoadableSnapshot } from '../../store/snapshot-types.js'
import { faultAroundBytes } from '../../sys/fault-around.js'
import { diskReadBytes, pageFaults } from '../../sys/proc.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import type { PreparedMemory } from '../engine.js'
import type { EngineName } from '../engine-names.js'
import type { PrefetchReport } from '../prefetch.js'
import {
  broughtPages,
  pagesWithData,
  type RestoreNote,
  writeBroughtPages,
  writeRestoreNote,
} from './restore-note.js'

/** Writes down of a restore, step by step, what `restoreUsage` needs. */
interface RestoreNoting {
  /** During the load: the guest does not wait for it. */
  loading(): void
  loaded(mapping: MapReport | null): void
  prefetched(report: PrefetchReport): void
}

/** To be called right before the load: what the VMM has done by then does not count. */
export function noteRestore(
  vmm: { readonly pid: number; readonly directory: string },
  {
    engine,
    snapshot,
    prepared: { files, pageServer },
    workingSet,
  }: {
    readonly engine: EngineName
    readonly snapshot: LoadableSnapshot
    readonly prepared: Pick<PreparedMemory, 'files' | 'pageServer'>
    readonly workingSet: WorkingSet | null
  },
): RestoreNoting {
  const { pid, directory } = vmm
  const before = { faults: pageFaults(pid) ?? { minor: 0, major: 0 }, readBytes: diskReadBytes(pid) }
  // A page server's VM has no page tables that would tell what was touched, and the server itself counts.
  const counted = pageServer !== undefined
  const brought = counted || workingSet === null ? null : broughtPages(snapshot.map, files, workingSet)
  let note: RestoreNote | undefined
  return {
    loading() {
      if (brought !== null) writeBroughtPages(directory, brought)
    },
    loaded(mapping) {
      note = {
        format: 'varve-restore',
        version: 2,
        engine,
        snapshot: snapshot.entry.id,
        memoryPages: snapshot.map.pages,
        loadedAtMs: Date.now(),
        before,
        prefetched: workingSet && {
          pages: pagesWithData(snapshot.map, workingSet),
          prefaulted: {
            readOnlyPages: mapping?.prefault.readOnlyPages ?? 0,
            writtenPages: mapping?.prefault.writtenPages ?? 0,
          },
          readBytes: null,
          aroundBytes: faultAroundBytes(),
        },
      }
      writeRestoreNote(directory, note)
    },
    prefetched({ pages }) {
      if (!note?.prefetched || counted) return
      const prefetched = { ...note.prefetched, readBytes: pages * pageSizeBytes }
      try {
        writeRestoreNote(directory, { ...note, prefetched })
      } catch {
        // A figure is missing then; there is no caller left to tell.
      }
    },
  }
}
