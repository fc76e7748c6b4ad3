import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathError } from 'varve'
import type { ExperimentRows } from '../experiments/rows.js'
import { rowsToCsv } from './csv.js'
import { renderReport } from './render-report.js'
import { textSummary } from './text-summary.js'

export interface WrittenReport {
  readonly report: string
  readonly csv: string
  /** For a terminal. */
  readonly summary: string
}

/** Writes report.html and rows.csv into a directory, over older ones. */
export function writeReport(rows: ExperimentRows, directory: string): WrittenReport {
  const folder = resolve(directory)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  return {
    report: put(join(folder, 'report.html'), renderReport(rows)),
    csv: put(join(folder, 'rows.csv'), rowsToCsv(rows)),
    summary: textSummary(rows),
  }
}

/** Who looks at the report while it is made again sees the old one or the new. */
function put(path: string, text: string): string {
  writeFileSync(`${path}.new`, text, { mode: 0o600 })
  renameSync(`${path}.new`, path)
  return path
}

/**
 * The rows of a directory that `runExperiment` wrote to, or a file itself. PATH_INVALID if it cannot be
 * looked at.
 */
export function rowsPathOf(place: string): string {
  try {
    const isDirectory = statSync(place, { throwIfNoEntry: false })?.isDirectory() === true
    return isDirectory ? join(place, 'rows.jsonl') : place
  } catch (cause) {
    throw pathError(
      cause,
      `cannot look at ${place.slice(0, 300)}: ${(cause as NodeJS.ErrnoException).code}`,
      {
        details: { path: place },
      },
    )
  }
}
