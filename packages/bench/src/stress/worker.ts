import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { type FirecrackerBinary, type LocalStore, VarveError } from 'varve'
import type { ActionWorker, Outcome, PickedSnapshot } from './action.js'
import { type ActionName, actions, weightsOf } from './actions.js'
import { contentOfTag } from './content.js'
import { Context } from './context.js'
import { lawful } from './lawful.js'
import { Ledger } from './ledger.js'
import { Random } from './random.js'
import { type RunPaths, runPaths } from './run.js'
import { describeError, isSuppressedError } from './show.js'
import type { Vm } from './vm.js'
import type { DoneLine, Judged, WorkerMessage, WorkerOrder } from './worker-messages.js'

/** Names that several workers want: a machine's place must not be taken from its successor. */
const sharedNames = ['pool-1', 'pool-2', 'pool-3', 'pool-4']

export class Worker implements ActionWorker {
  readonly id: string
  readonly only: readonly string[]
  readonly run: RunPaths
  readonly random: Random
  readonly ledger: Ledger
  readonly binary: FirecrackerBinary
  readonly store: LocalStore
  vms: readonly Vm[] = []
  /** Tags in the store when it was last listed. */
  snapshots = 0
  #count = 0
  readonly #log: string

  constructor({ directory, id, seed, only }: WorkerOrder, binary: FirecrackerBinary, store: LocalStore) {
    this.only = only
    this.id = id
    this.run = runPaths(directory)
    this.random = new Random(seed)
    this.ledger = new Ledger(this.run.ledger)
    this.binary = binary
    this.store = store
    this.#log = join(this.run.logs, `${id}.jsonl`)
  }

  /** Does one action; judges and reports its failure, and goes on. */
  async act(): Promise<void> {
    const action = this.random.weighted(weightsOf(this))
    if (action === undefined) throw new Error('no action is possible')
    const op = `${this.id}-${++this.#count}`
    const context = new Context(op, this.ledger, (facts) => this.#write({ op, ...facts }))
    const start = performance.now()
    this.#write({ op, action, begins: true })
    const outcome = await this.#outcome(action, context)
    const line: DoneLine = { op, action, ms: Math.round(performance.now() - start), ...outcome }
    this.#write(line)
    process.send?.({ type: 'did', line } satisfies WorkerMessage)
  }

  async #outcome(action: ActionName, context: Context): Promise<Outcome & Judged> {
    try {
      return { ok: true, ...(await actions[action].run(this, context)), ...context.notes }
    } catch (error) {
      const why = lawful(action, error, context)
      await this.#drop(context)
      return {
        ok: false,
        code: codeOf(error),
        ...(why === undefined ? { error: describeError(error) } : { why }),
        ...context.notes,
      }
    }
  }

  /** A VM whose action failed is not used again. */
  async #drop({ vms }: Context): Promise<void> {
    for (const vm of this.vms.filter((it) => vms.includes(it))) {
      this.forget(vm)
      await vm.stop()
    }
  }

  async end(): Promise<void> {
    const vms = this.vms
    this.vms = []
    for (const vm of vms) await vm.stop()
    this.ledger.close()
  }

  unique(): string {
    return `${this.id}-${this.#count}-${this.random.below(36 ** 4).toString(36)}`
  }

  keep(vm: Vm, context: Context): Vm {
    this.vms = [...this.vms, vm]
    context.vms.push(vm)
    return vm
  }

  forget(vm: Vm): void {
    this.vms = this.vms.filter((it) => it !== vm)
  }

  pickVm(context: Context): Vm {
    const vm = this.random.pick(this.vms)
    if (vm === undefined) throw new Error('this worker has no VM')
    context.vms.push(vm)
    context.note({ vm: vm.id })
    return vm
  }

  machineName(context: Context): { readonly name?: string } {
    if (!this.random.chance(0.25)) return {}
    context.sharedName = true
    const name = this.random.pick(sharedNames)
    context.note({ name })
    return name === undefined ? {} : { name }
  }

  async pickSnapshot(context: Context): Promise<PickedSnapshot | undefined> {
    const entries = await this.store.list()
    this.snapshots = entries.length
    const known = entries.flatMap((entry) =>
      entry.tags.flatMap((tag) => {
        const content = contentOfTag(tag)
        return content === undefined ? [] : [{ tag, entry, content }]
      }),
    )
    const found = this.random.chance(0.4) ? known.at(-1) : this.random.pick(known)
    if (found === undefined) return undefined
    context.refs.push(found.tag)
    return found
  }

  #write(line: object): void {
    appendFileSync(this.#log, `${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`)
  }
}

function codeOf(error: unknown): string {
  if (isSuppressedError(error)) return codeOf(error.suppressed)
  return error instanceof VarveError ? error.code : String((error as Error).name)
}
