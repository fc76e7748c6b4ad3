import type { ProcessIdentity } from 'varve'
import type { Kill, Ledger } from './ledger.js'

type Facts = Readonly<Record<string, unknown>>

/** A VM as far as judging needs it: positions in the ledger before it was made and after its first answer. */
export interface KnownVm {
  readonly identity: ProcessIdentity
  readonly begun: number
  readonly ready: number
}

type PlacedKill = Kill & { readonly position: number }

/** The things that one action worked on, for its line in the log and for judging its failure. */
export class Context {
  readonly op: string
  /** Tags. */
  readonly refs: string[] = []
  readonly vms: KnownVm[] = []
  relayers = false
  sharedName = false
  readonly notes: Record<string, unknown> = {}
  readonly #ledger: Ledger
  readonly #from: number
  readonly #onNote: (facts: Facts) => void

  /** `onNote` gets each fact at once, so that it is known if the action is killed or hangs. */
  constructor(op: string, ledger: Ledger, onNote: (facts: Facts) => void = () => {}) {
    this.op = op
    this.#onNote = onNote
    this.#ledger = ledger
    this.#from = ledger.position()
  }

  note(facts: Facts): void {
    Object.assign(this.notes, facts)
    this.#onNote(facts)
  }

  refGone(): boolean {
    return this.refs.some((tag) => this.#ledger.mayBeAbsent(tag))
  }

  /** One of the VMs that it has handles of, or one of this process that was still being made. */
  vmKilled(): boolean {
    return this.ownVmmKilled() || this.vms.some(({ identity }) => this.#kills('vmm').some(isOf(identity)))
  }

  ownVmmKilled(): boolean {
    return this.#ownKilled('vmm')
  }

  mapperKilled(): boolean {
    return this.#ownKilled('mapper')
  }

  serverKilled(): boolean {
    return this.#kills('server', 'guard').some(({ position }) => position >= this.#from)
  }

  /**
   * Between the begin of a VM's restore and its first answers; that it was killed may be noticed much later.
   */
  serverKilledInHandshake(): boolean {
    const during = ({ position }: PlacedKill) =>
      this.vms.length === 0
        ? position >= this.#from
        : this.vms.some(({ begun, ready }) => position >= begun && position <= ready)
    return this.#kills('server').some(during)
  }

  #ownKilled(what: Kill['what']): boolean {
    return this.#kills(what).some(({ owner, position }) => owner === process.pid && position >= this.#from)
  }

  #kills(...whats: readonly Kill['what'][]): PlacedKill[] {
    return this.#ledger.kills().filter(({ what }) => whats.includes(what))
  }
}

const isOf = (identity: ProcessIdentity) => (it: ProcessIdentity) =>
  it.pid === identity.pid && it.startTime === identity.startTime
