import { pagesFrom, zeroSource } from '../layer/extent-map.js'
import type { ImageId } from '../layer/layer-types.js'
import type { MapReport } from '../mapper/map-into-vmm.js'
import type { PageClass } from '../memory/classes.js'
import { emptyPageSet, type PageSet } from '../memory/page-set.js'
import { pagesInBoth } from '../memory/page-set-algebra.js'
import type { LoadableSnapshot } from '../store/snapshot-types.js'
import { presentPages, type WorkingSet } from '../working-set/working-set.js'
import type { VmmOfRestore } from './choose-vmm.js'
import type { EngineName } from './engine-names.js'
import type { FixUpStep } from './fix-up.js'
import type { MemoryFiles } from './memory-files.js'
import type { Phases } from './phases.js'
import type { RestorePlan } from './plan-restore.js'

/**
 * What a restore did. Times are wall-clock milliseconds; phases may overlap: a file is
 * flattened while the VMM is launched.
 */
export interface RestoreReport {
  /** The Firecracker that was taken, and why. */
  readonly firecracker: VmmOfRestore
  /** The engine that was used. */
  readonly engine: EngineName
  /** Why `auto` took this engine; null if it was named. */
  readonly reason: string | null
  /** The id of the snapshot. */
  readonly snapshot: ImageId
  /** Layers of the snapshot. */
  readonly layers: number
  /** Runs of the image's extent map. */
  readonly extents: number
  /** Pages of guest memory. */
  readonly memoryPages: number
  /** The pages of the image by class and by origin. */
  readonly pages: PagesOfImage
  /** Pages of the working set that was used, and how many of it did not fit this image; null if none was. */
  readonly workingSet: {
    /** Pages that were used. */
    readonly pages: number
    /** How many pages did not fit. */
    readonly droppedPages: number
  } | null
  /** What the `mapped` engine did within the load; null with another. */
  readonly mapping: MapReport | null
  /** What the guest was told after its restore; null if `fixUp` was not given. */
  readonly fixUp: readonly FixUpStep[] | null
  /** How long each phase took, by its name. */
  readonly phasesMs: Readonly<Record<string, number>>
  /** From the call to the machine. */
  readonly totalMs: number
}

/** All pages of the image, counted twice over: each count adds up to `memoryPages`. */
export interface PagesOfImage {
  /** By what the working set says of them; without one, all that is not zero is cold. */
  readonly byClass: Readonly<Record<PageClass, number>>
  /** By what the VM has them from. */
  readonly byOrigin: {
    /** Nothing is stored for them. */
    readonly zero: number
    /** From the flat file. */
    readonly flatFile: number
    /** Each layer of the snapshot, its base first. */
    readonly layers: readonly number[]
  }
}

/** The report of a restore that is done. */
export function restoreReport(
  { entry, files, map }: LoadableSnapshot,
  { chosen, fitted }: RestorePlan,
  { vmm, pages, mapping, fixUp, phases }: RestoreOutcome,
): RestoreReport {
  return {
    firecracker: vmm,
    engine: chosen.engine,
    reason: chosen.reason,
    snapshot: entry.id,
    layers: files.length,
    extents: map.starts.length,
    memoryPages: map.pages,
    pages,
    workingSet: fitted && {
      pages: presentPages(fitted.workingSet).pages,
      droppedPages: fitted.droppedPages,
    },
    mapping,
    fixUp,
    phasesMs: phases.ms,
    totalMs: phases.totalMs,
  }
}

interface RestoreOutcome {
  readonly vmm: VmmOfRestore
  readonly pages: PagesOfImage
  readonly mapping: MapReport | null
  readonly fixUp: readonly FixUpStep[] | null
  readonly phases: Phases
}

export function pagesOfImage(
  { map, files }: Pick<LoadableSnapshot, 'map' | 'files'>,
  from: MemoryFiles,
  workingSet: WorkingSet | null,
): PagesOfImage {
  const zero = pagesFrom(map, zeroSource)
  const layers = files.map(() => 0)
  const flat = flatFileOf(from, files)
  const ofFlat = flat === undefined ? -1 : files.findIndex(({ path }) => path === flat)
  map.sources.forEach((source, run) => {
    const layer = flat === undefined ? source : ofFlat
    if (source !== zeroSource && layer >= 0)
      layers[layer] = (layers[layer] as number) + (map.counts[run] as number)
  })
  const flatFile = map.pages - zero.pages - layers.reduce((sum, pages) => sum + pages, 0)
  return {
    byClass: pagesByClass(map.pages, zero, workingSet),
    byOrigin: { zero: zero.pages, flatFile, layers },
  }
}

/** What `classify` would count, without making the sets: a restore waits for it. */
function pagesByClass(
  pages: number,
  zero: PageSet,
  workingSet: WorkingSet | null,
): Readonly<Record<PageClass, number>> {
  const { readOnly, written } = workingSet ?? { readOnly: emptyPageSet, written: emptyPageSet }
  const untouchedZero = zero.pages - pagesInBoth(zero, readOnly) - pagesInBoth(zero, written)
  return {
    zero: untouchedZero,
    cold: pages - untouchedZero - readOnly.pages - written.pages,
    'read-only': readOnly.pages,
    written: written.pages,
  }
}

/** The one file that has the whole image, if the VM's memory comes from one; it can be the base layer. */
function flatFileOf({ files, map }: MemoryFiles, layers: LoadableSnapshot['files']): string | undefined {
  const path = files[0]?.path
  // A map over a flat file only says which runs of zeros are left out.
  return map === undefined || !layers.some((layer) => layer.path === path) ? path : undefined
}
