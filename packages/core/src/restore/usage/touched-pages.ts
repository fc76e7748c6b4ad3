import { statSync } from 'node:fs'
import { pageSetFromRuns } from '../../memory/make-page-set.js'
import { type PageSet, runsOf } from '../../memory/page-set.js'
import { clip, intersect, minus, union } from '../../memory/page-set-algebra.js'
import { RunBuilder } from '../../memory/run-builder.js'
import { pageSizeBytes } from '../../memory/units.js'
import { isMappingOf, type Mapping, mappingsOf } from '../../sys/mappings.js'
import type { PageKind, Pagemap } from '../../sys/pagemap.js'
import type { BroughtPages } from './restore-note.js'

/** What page tables say of pages that were brought ahead. */
interface TouchCounts {
  /** In no page table: not touched. */
  readonly absent: number
  /** Copies of the VM's own, of pages that a working set calls read-only; and of the others. */
  readonly copiedReadOnly: number
  readonly copiedWritten: number
  /** So many at least are mapped from the file, and not along with a neighbour. */
  readonly mappedForThemselves: number
}

/**
 * Looks at the pages of one file in the page tables of a process that maps it privately. A read maps up to
 * `aroundBytes` that lie around it and are in the page cache, as far as one mapping goes (do_fault_around in
 * mm/memory.c). Undefined if the process does not map the file.
 */
export function touchesOf(
  { pid, pagemap }: { readonly pid: number; readonly pagemap: Pagemap },
  { path, readOnly, written }: BroughtPages,
  aroundBytes: number,
): TouchCounts | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  const mappings =
    stat && mappingsOf(pid).filter((mapping) => mapping.private && isMappingOf(mapping, path, stat))
  if (mappings === undefined || mappings.length === 0) return undefined
  const counts = { absent: 0, copiedReadOnly: 0, copiedWritten: 0, mappedForThemselves: 0 }
  const windowPages = aroundBytes / pageSizeBytes
  for (const mapping of mappings) {
    const place = placeOf(mapping, aroundBytes)
    const [read, wrote] = [place.numbered(readOnly), place.numbered(written)]
    const wanted = union(read, wrote)
    if (wanted.pages === 0) continue
    const { file, anonymous } = place.look(pagemap, windowsOf(wanted, windowPages))
    const mapped = intersect(file, wanted)
    counts.absent += minus(minus(wanted, file), anonymous).pages
    counts.copiedReadOnly += intersect(anonymous, read).pages
    counts.copiedWritten += intersect(anonymous, wrote).pages
    // A read of one page of such a window reads one of ours. If there are others in it, or one that was read
    // may have been written since, it can have been another.
    const others = union(minus(file, wanted), anonymous)
    counts.mappedForThemselves +=
      windowPages === 1
        ? mapped.pages
        : minus(windowsOf(mapped, windowPages), windowsOf(others, windowPages)).pages
  }
  return counts
}

/** Pages of a mapping, numbered so that multiples of a window begin one. */
function placeOf({ start, end, offsetBytes }: Mapping, windowBytes: number) {
  const base = Math.floor(start / windowBytes) * windowBytes
  const shift = (start - base - offsetBytes) / pageSizeBytes
  return {
    /** Of a set of the file's pages, those in this mapping. */
    numbered(set: PageSet): PageSet {
      const here = clip(set, offsetBytes / pageSizeBytes, (end - start) / pageSizeBytes)
      return pageSetFromRuns([...runsOf(here)].map((run) => ({ start: run.start + shift, count: run.count })))
    },
    /** What is there of whole windows. */
    look(pagemap: Pagemap, windows: PageSet): Readonly<Record<PageKind, PageSet>> {
      const found = { file: new RunBuilder(), anonymous: new RunBuilder() }
      for (const run of runsOf(windows)) {
        const from = Math.max(start, base + run.start * windowBytes)
        const to = Math.min(end, base + (run.start + run.count) * windowBytes)
        pagemap.forEachRun(from, to, (first, behind, kind) =>
          found[kind].add((first - base) / pageSizeBytes, (behind - first) / pageSizeBytes),
        )
      }
      return { file: found.file.finish(), anonymous: found.anonymous.finish() }
    },
  }
}

/** The windows that pages of a set lie in, by their numbers. */
function windowsOf(set: PageSet, windowPages: number): PageSet {
  const windows = new RunBuilder()
  for (const { start, count } of runsOf(set)) {
    const first = Math.floor(start / windowPages)
    windows.add(first, Math.floor((start + count - 1) / windowPages) - first + 1)
  }
  return windows.finish()
}
