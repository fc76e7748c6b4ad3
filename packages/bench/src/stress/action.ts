import type { FirecrackerBinary, LocalStore, SnapshotEntry } from 'varve'
import type { Content } from './content.js'
import type { Context } from './context.js'
import type { Ledger } from './ledger.js'
import type { Random } from './random.js'
import type { RunPaths } from './run.js'
import type { Vm } from './vm.js'

/** A snapshot of known content. */
export interface PickedSnapshot {
  readonly tag: string
  readonly entry: SnapshotEntry
  readonly content: Content
}

/** A worker as its actions see it. */
export interface ActionWorker {
  readonly id: string
  readonly run: RunPaths
  readonly random: Random
  readonly ledger: Ledger
  readonly store: LocalStore
  readonly binary: FirecrackerBinary
  /** The VMs that it keeps. */
  readonly vms: readonly Vm[]
  /** A name that no other worker uses. */
  unique(): string
  keep(vm: Vm, context: Context): Vm
  forget(vm: Vm): void
  /** One of its own, of which there is one. */
  pickVm(context: Context): Vm
  /** Now and then a name that other workers use, too. */
  machineName(context: Context): { readonly name?: string }
  /** Often the newest, so that several workers use it at once; undefined if there is none. */
  pickSnapshot(context: Context): Promise<PickedSnapshot | undefined>
}

/** Goes into the log. `skipped`: why nothing was done; `pages`: so many were verified. */
export interface Outcome {
  readonly skipped?: string
  readonly pages?: number
  readonly [fact: string]: unknown
}

export type Action = (worker: ActionWorker, context: Context) => Promise<Outcome>
