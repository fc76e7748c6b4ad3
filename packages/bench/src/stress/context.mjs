const servers = ['server', 'guard']

/** The things that one action worked on, for its line in the log and for judging its failure. */
export class Context {
  op
  refs = []
  vms = []
  relayers = false
  sharedName = false
  notes = {}
  #ledger
  #from
  #onNote

  /** `onNote` gets each fact at once, so that it is known if the action is killed or hangs. */
  constructor(op, ledger, onNote = () => {}) {
    this.op = op
    this.#onNote = onNote
    this.#ledger = ledger
    this.#from = ledger.position()
  }

  note(facts) {
    Object.assign(this.notes, facts)
    this.#onNote(facts)
  }

  refGone() {
    return this.refs.some((tag) => this.#ledger.mayBeAbsent(tag))
  }

  /** One of the VMs that it has handles of, or one of this process that was still being made. */
  vmKilled() {
    return this.ownVmmKilled() || this.vms.some(({ identity }) => this.#kills('vmm').some(isOf(identity)))
  }

  ownVmmKilled() {
    return this.#kills('vmm').some(({ owner, position }) => owner === process.pid && position >= this.#from)
  }

  mapperKilled() {
    return this.#kills('mapper').some(
      ({ owner, position }) => owner === process.pid && position >= this.#from,
    )
  }

  serverKilled() {
    return this.#kills(...servers).some(({ position }) => position >= this.#from)
  }

  /**
   * Between the begin of a VM's restore and its first answers; that it was killed may be noticed much later.
   */
  serverKilledInHandshake() {
    const during = ({ position }) =>
      this.vms.length === 0
        ? position >= this.#from
        : this.vms.some(({ begun, ready }) => position >= begun && position <= ready)
    return this.#kills('server').some(during)
  }

  #kills(...whats) {
    return this.#ledger.kills().filter(({ what }) => whats.includes(what))
  }
}

const isOf = (identity) => (it) => it.pid === identity.pid && it.startTime === identity.startTime
