import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'

interface Removal {
  readonly event: 'remove'
  readonly op: string
  readonly tag?: string
  readonly id?: string
}

export interface Kill {
  readonly event: 'kill'
  readonly what: 'server' | 'guard' | 'mapper' | 'vmm' | 'worker'
  readonly pid: number
  readonly startTime: number
  /** The worker that killed it. */
  readonly by?: string
  /** Of a mapper or a VMM: the process that it belongs to; null if the VM was detached. */
  readonly owner?: number | null
  readonly vm?: string
}

export type LedgerEvent =
  | { readonly event: 'begin' | 'removed'; readonly op: string }
  | { readonly event: 'named'; readonly op: string; readonly id: string; readonly tags: readonly string[] }
  | Removal
  | Kill

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
  readonly #fd: number
  #offset = 0
  #rest = ''
  readonly #begun = new Map<string, number>()
  readonly #named = new Map<string, { readonly id: string; readonly from: number }[]>()
  readonly #removals: Removal[] = []
  readonly #done = new Map<string, number>()
  readonly #kills: (Kill & { readonly position: number })[] = []
  #position = 0

  constructor(path: string) {
    this.#fd = openSync(path, 'a+', 0o600)
  }

  write(event: LedgerEvent): void {
    writeSync(this.#fd, `${JSON.stringify({ at: Date.now(), ...event })}\n`)
  }

  /** The number of events so far; later events have higher positions. */
  position(): number {
    this.#read()
    return this.#position
  }

  kills(): readonly (Kill & { readonly position: number })[] {
    this.#read()
    return this.#kills
  }

  /** Tags that were given and that no process has begun to remove. */
  expectedTags(): string[] {
    this.#read()
    return [...this.#named.keys()].filter((tag) => !this.mayBeAbsent(tag))
  }

  /**
   * Whether a tag may be missing: it was never given for certain, or a removal of it (or of a snapshot that
   * had it) was not done when it was last given.
   */
  mayBeAbsent(tag: string): boolean {
    this.#read()
    const given = this.#named.get(tag) ?? []
    const ids = new Set(given.map(({ id }) => id))
    const removals = this.#removals.filter((it) => it.tag === tag || (it.id !== undefined && ids.has(it.id)))
    return given.every(({ from }) =>
      removals.some(({ op }) => (this.#done.get(op) ?? Number.POSITIVE_INFINITY) > from),
    )
  }

  close(): void {
    closeSync(this.#fd)
  }

  #read(): void {
    const { size } = fstatSync(this.#fd)
    if (size === this.#offset) return
    const bytes = Buffer.alloc(size - this.#offset)
    this.#offset += readSync(this.#fd, bytes, 0, bytes.length, this.#offset)
    const lines = (this.#rest + bytes.toString('latin1')).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#take(JSON.parse(line) as LedgerEvent, this.#position++)
  }

  #take(event: LedgerEvent, position: number): void {
    switch (event.event) {
      case 'begin':
        this.#begun.set(event.op, position)
        break
      case 'named':
        for (const tag of event.tags) {
          const given = this.#named.get(tag) ?? []
          this.#named.set(tag, [...given, { id: event.id, from: this.#begun.get(event.op) ?? position }])
        }
        break
      case 'remove':
        this.#removals.push(event)
        break
      case 'removed':
        this.#done.set(event.op, position)
        break
      case 'kill':
        this.#kills.push({ ...event, position })
        break
    }
  }
}
