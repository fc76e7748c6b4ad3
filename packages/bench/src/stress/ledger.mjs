import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'

/**
 * The common knowledge of a run: an append-only file of JSON lines. A process notes each action before it
 * begins and again when it is done, so a kill in between leaves the result open, and the ledger is never
 * wrong. One write(2) of a short line with O_APPEND is whole, even if other processes append at the same
 * time.
 *
 * | event | fields | meaning |
 * |---|---|---|
 * | `begin` | op | an operation that may give names to snapshots begins |
 * | `named` | op, id, tags | it ended: these tags name this snapshot |
 * | `remove` | op, tag or id | the tag, or every tag of the snapshot, is going to be removed |
 * | `removed` | op | that is done |
 * | `kill` | what, pid, startTime, owner, vm | a process is going to be killed |
 */
export class Ledger {
  #fd
  #offset = 0
  #rest = ''
  #begun = new Map()
  #named = new Map()
  #removals = []
  #done = new Map()
  #kills = []
  #position = 0

  constructor(path) {
    this.#fd = openSync(path, 'a+', 0o600)
  }

  write(event) {
    writeSync(this.#fd, `${JSON.stringify({ at: Date.now(), ...event })}\n`)
  }

  /** The number of events so far; later events have higher positions. */
  position() {
    this.#read()
    return this.#position
  }

  kills() {
    this.#read()
    return this.#kills
  }

  /** Tags that were given and that no process has begun to remove. */
  expectedTags() {
    this.#read()
    return [...this.#named.keys()].filter((tag) => !this.mayBeAbsent(tag))
  }

  /**
   * Whether a tag may be missing: it was never given for certain, or a removal of it (or of a snapshot that
   * had it) was not done when it was last given.
   */
  mayBeAbsent(tag) {
    this.#read()
    const given = this.#named.get(tag) ?? []
    const ids = new Set(given.map(({ id }) => id))
    const removals = this.#removals.filter((it) => it.tag === tag || ids.has(it.id))
    return given.every(({ from }) => removals.some(({ op }) => (this.#done.get(op) ?? Infinity) > from))
  }

  close() {
    closeSync(this.#fd)
  }

  #read() {
    const { size } = fstatSync(this.#fd)
    if (size === this.#offset) return
    const bytes = Buffer.alloc(size - this.#offset)
    this.#offset += readSync(this.#fd, bytes, 0, bytes.length, this.#offset)
    const lines = (this.#rest + bytes.toString('latin1')).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#take(JSON.parse(line), this.#position++)
  }

  #take(event, position) {
    const { op } = event
    if (event.event === 'begin') this.#begun.set(op, position)
    else if (event.event === 'named')
      for (const tag of event.tags) {
        const given = this.#named.get(tag) ?? []
        this.#named.set(tag, [...given, { id: event.id, from: this.#begun.get(op) ?? position }])
      }
    else if (event.event === 'remove') this.#removals.push(event)
    else if (event.event === 'removed') this.#done.set(op, position)
    else if (event.event === 'kill') this.#kills.push({ ...event, position })
  }
}
