import type { Digest } from '../content/descriptors.js'
import type { Holder } from '../sys/holder.js'
import { removeSmallFile } from '../sys/mutations.js'
import { leaseToOther, leaseToSelf, type OwnLease } from './leases.js'

/** Each holds a descriptor. A process that captures without a tag for a month must not run out of them. */
const maxKept = 64

/** Leases of this process on what it committed, the latest last. */
const kept: (OwnLease & { readonly directory: string })[] = []

/** Leases on a snapshot that the index does not name yet: a gc that sees the snapshot sees them. */
export class CommitLeases {
  readonly #directory: string
  readonly #holders: readonly (Holder | 'this process')[]
  readonly #others: string[] = []
  #own: OwnLease | undefined

  constructor(directory: string, holders: readonly (Holder | 'this process')[]) {
    this.#directory = directory
    this.#holders = holders
  }

  /** Before the index is written, under the same turn of the store's lock. */
  give(snapshot: string, manifest: Digest): void {
    for (const holder of this.#holders)
      if (holder === 'this process') this.#own ??= leaseToSelf(this.#directory, snapshot, manifest)
      else this.#others.push(leaseToOther(this.#directory, holder, snapshot, manifest).path)
  }

  /** The snapshot is there: this process keeps its lease. Gives the files of the others' leases. */
  keep(): readonly string[] {
    if (this.#own !== undefined) kept.push({ ...this.#own, directory: this.#directory })
    while (kept.length > maxKept) kept.shift()?.end()
    return this.#others
  }

  /** There is no such snapshot. */
  drop(): void {
    this.#own?.end()
    for (const path of this.#others) removeSmallFile(path)
  }
}

/** This process has said by tags what it wants of the snapshot. */
export function endCommitLeases(directory: string, snapshot: string): void {
  for (let i = kept.length - 1; i >= 0; i--)
    if (kept[i]?.directory === directory && kept[i]?.snapshot === snapshot) kept.splice(i, 1)[0]?.end()
}
