import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import { endMemoryLease } from '../../machine/machine-leases.js'
import { pageServerFiles } from './page-server-files.js'

/** How far a VM is on its way to needing no page server. */
export interface ServedGraduation {
  /**
   * `waiting` for the VM's memory, or for its working set; `running`; `finished`: the VM is on its own, and
   * its page server does not answer for it any more; `failed`: `failure` says why, and pages come when they
   * are asked for, as before.
   */
  readonly state: 'waiting' | 'running' | 'finished' | 'failed'
  /** Why it failed; null if it did not. */
  readonly failure: string | null
  /** Brought without having been asked for; known at the end. */
  readonly copiedPages: number
  /** From its begin to its end; null before that. */
  readonly ms: number | null
}

/** The last answers about a VM that has graduated, left in its directory. */
export interface GraduatedVm {
  readonly graduation: ServedGraduation
  readonly stats: object
  /** Null if nothing was to be fetched ahead. */
  readonly prefetched: object | null
}

export function writeGraduated(path: string, answers: GraduatedVm): void {
  const draft = `${path}.new`
  writeFileSync(draft, JSON.stringify(answers), { mode: 0o600 })
  renameSync(draft, path)
}

/** Undefined if it has not graduated. */
export function readGraduated(path: string): GraduatedVm | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as GraduatedVm
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new VarveError('FORMAT_INVALID', `${path}: ${(cause as Error).message}`, { cause })
  }
}

/**
 * Ends the lease on the snapshot that the VM's memory came from, if the VM has graduated. Call it once the
 * lease is on record: a small VM can graduate earlier, and then its page server finds no lease to end.
 */
export function endLeaseOfGraduated(directory: string): void {
  if (existsSync(pageServerFiles(directory).graduated)) endMemoryLease(directory)
}
