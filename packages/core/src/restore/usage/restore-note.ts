import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { VarveError } from '../../errors.js'
import { type ExtentMap, pagesFrom, zeroSource } from '../../layer/extent-map.js'
import type { ImageId } from '../../layer/layer-types.js'
import { pagesByLayer } from '../../layer/pages-by-layer.js'
import { type PageSet, pageSetLimit } from '../../memory/page-set.js'
import { minus, pagesInBoth } from '../../memory/page-set-algebra.js'
import { pageSetFromJson, pageSetToJson } from '../../memory/page-set-json.js'
import { notFound } from '../../not-found.js'
import type { PageFaults } from '../../sys/proc.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import type { EngineName } from '../engine-names.js'
import type { MemoryFiles } from '../memory-files.js'

/** What a restore leaves in the machine's directory for later questions about it. */
export interface RestoreNote {
  readonly format: 'varve-restore'
  readonly version: 2
  readonly engine: EngineName
  readonly snapshot: ImageId
  readonly memoryPages: number
  /** Milliseconds since 1970, UTC. */
  readonly loadedAtMs: number
  /** Of the VMM, right before the load. */
  readonly before: { readonly faults: PageFaults; readonly readBytes: number | null }
  /** Null if no working set was used. */
  readonly prefetched: {
    /** Pages with data of the working set. */
    readonly pages: number
    /** Of it, pages put into the VMM's page tables ahead of the guest. */
    readonly prefaulted: { readonly readOnlyPages: number; readonly writtenPages: number }
    /** What was read from files ahead; null until that has ended, and if a page server does it. */
    readonly readBytes: number | null
    /** See `faultAroundBytes`. */
    readonly aroundBytes: number
  } | null
}

/** Pages of one file that a working set brings, by the file's numbering. */
export interface BroughtPages {
  readonly path: string
  readonly readOnly: PageSet
  readonly written: PageSet
}

const notePath = (directory: string) => join(directory, 'restore.json')
const broughtPath = (directory: string) => join(directory, 'restore-pages.json')

/** Replaces the note as a whole. Nothing if the machine has ended. */
export function writeRestoreNote(directory: string, note: RestoreNote): void {
  write(notePath(directory), JSON.stringify(note, null, 2))
}

/** NOT_FOUND, FORMAT_INVALID. */
export function readRestoreNote(directory: string, id: string): RestoreNote {
  const note = read(notePath(directory)) as RestoreNote | undefined
  if (note === undefined) throw notFound('machine', `${id} was not restored from a snapshot, or has ended`)
  if (note.format !== 'varve-restore' || note.version !== 2)
    throw new VarveError('FORMAT_INVALID', `${notePath(directory)} is not of this version`)
  return note
}

/** Where the pages of a working set lie that hold data. */
export function broughtPages(image: ExtentMap, from: MemoryFiles, workingSet: WorkingSet): BroughtPages[] {
  const zero = pagesFrom(image, zeroSource)
  const [readOnly, written] = [workingSet.readOnly, workingSet.written].map((set) => {
    const data = minus(set, zero)
    return from.map === undefined ? [data] : pagesByLayer(from.map, from.files.length, data)
  }) as [PageSet[], PageSet[]]
  return from.files
    .map(({ path }, file) => ({
      path: resolve(path),
      readOnly: readOnly[file] as PageSet,
      written: written[file] as PageSet,
    }))
    .filter((file) => file.readOnly.pages + file.written.pages > 0)
}

/** How many pages of a working set hold data in the image. */
export function pagesWithData(image: ExtentMap, { readOnly, written }: WorkingSet): number {
  const zero = pagesFrom(image, zeroSource)
  const sets = [readOnly, written]
  return sets.reduce((sum, set) => sum + set.pages - pagesInBoth(set, zero), 0)
}

export function writeBroughtPages(directory: string, brought: readonly BroughtPages[]): void {
  const files = brought.map(({ path, readOnly, written }) => ({
    path,
    readOnly: pageSetToJson(readOnly),
    written: pageSetToJson(written),
  }))
  write(broughtPath(directory), JSON.stringify(files))
}

/** None if the machine has ended. */
export function readBroughtPages(directory: string): BroughtPages[] {
  const path = broughtPath(directory)
  const files = (read(path) ?? []) as { path: string; readOnly: unknown; written: unknown }[]
  return files.map((file) => ({
    path: file.path,
    readOnly: pageSetFromJson(file.readOnly, pageSetLimit, path),
    written: pageSetFromJson(file.written, pageSetLimit, path),
  }))
}

/** Private as its directory is, and whole: it is read while it is written anew. */
function write(path: string, text: string): void {
  const temporary = `${path}.${process.pid}`
  try {
    writeFileSync(temporary, text, { mode: 0o600 })
    renameSync(temporary, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw new VarveError('WRITE_FAILED', `cannot write ${path}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function read(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new VarveError('FORMAT_INVALID', `cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}
