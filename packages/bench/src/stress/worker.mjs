// One worker of a run: node worker.mjs '{"directory":…,"id":…,"seed":…}', started by stress.mjs with an IPC
// channel.
import { appendFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findFirecracker, openLocalStore } from 'varve'
import { processIdentity } from 'varve/testing'
import { actions, weightsOf } from './actions.mjs'
import { contentOfTag } from './content.mjs'
import { Context } from './context.mjs'
import { leakedDescriptors, ownDescriptors } from './descriptors.mjs'
import { lawful } from './lawful.mjs'
import { Ledger } from './ledger.mjs'
import { childrenOf } from './processes.mjs'
import { Random } from './random.mjs'
import { runPaths } from './run.mjs'
import { describeError } from './show.mjs'

/** Names that several workers want: a machine's place must not be taken from its successor. */
const sharedNames = ['pool-1', 'pool-2', 'pool-3', 'pool-4']

class Worker {
  vms = []
  /** Tags in the store when it was last listed. */
  snapshots = 0
  #count = 0
  #log

  constructor({ directory, id, seed, only }, binary, store) {
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
  async act() {
    const action = this.random.weighted(weightsOf(this))
    const op = `${this.id}-${++this.#count}`
    const context = new Context(op, this.ledger, (facts) => this.#write({ op, ...facts }))
    const start = performance.now()
    this.#write({ op, action, begins: true })
    let outcome
    try {
      outcome = { ok: true, ...context.notes, ...(await actions[action].run(this, context)) }
      Object.assign(outcome, context.notes)
    } catch (error) {
      const why = lawful(action, error, context)
      outcome = { ok: false, code: error.code ?? error.name, why, ...context.notes }
      if (why === undefined) outcome.error = describeError(error)
      await this.#drop(context)
    }
    const line = { op, action, ms: Math.round(performance.now() - start), ...outcome }
    this.#write(line)
    process.send?.({ type: 'did', line })
  }

  /** A VM whose action failed is not used again. */
  async #drop({ vms }) {
    for (const vm of this.vms.filter((it) => vms.includes(it))) {
      this.forget(vm)
      await vm.stop()
    }
  }

  async end() {
    for (const vm of this.vms.splice(0)) await vm.stop()
    this.ledger.close()
  }

  unique() {
    return `${this.id}-${this.#count}-${this.random.below(36 ** 4).toString(36)}`
  }

  keep(vm, context) {
    this.vms.push(vm)
    context.vms.push(vm)
    return vm
  }

  forget(vm) {
    this.vms = this.vms.filter((it) => it !== vm)
  }

  pickVm(context) {
    const vm = this.random.pick(this.vms)
    context.vms.push(vm)
    context.note({ vm: vm.id })
    return vm
  }

  machineName(context) {
    if (!this.random.chance(0.25)) return {}
    context.sharedName = true
    const name = this.random.pick(sharedNames)
    context.note({ name })
    return { name }
  }

  /**
   * A tag that tells its content, often the newest, so that several workers use it at once; undefined if
   * there is none.
   */
  async pickSnapshot(context) {
    const entries = await this.store.list()
    this.snapshots = entries.length
    const all = entries.flatMap((entry) => entry.tags.map((tag) => ({ tag, entry })))
    const known = all.filter(({ tag }) => contentOfTag(tag) !== undefined)
    const found = this.random.chance(0.4) ? known.at(-1) : this.random.pick(known)
    if (found === undefined) return undefined
    context.refs.push(found.tag)
    return { ...found, content: contentOfTag(found.tag) }
  }

  #write(line) {
    appendFileSync(this.#log, `${JSON.stringify({ at: new Date().toISOString(), ...line })}\n`)
  }
}

const asked = JSON.parse(process.argv[2] ?? '')
const paths = runPaths(asked.directory)
const binary = await findFirecracker()
const store = await openLocalStore(paths.store)
const worker = new Worker(asked, binary, store)
const registration = join(paths.workers, `${asked.id}.json`)
const before = ownDescriptors()
writeFileSync(registration, JSON.stringify(processIdentity(process.pid)))

let finish = false
process.on('message', (message) => {
  finish ||= message === 'finish'
})
// The driver was killed: no process wants a result, and the VMs end with this process.
process.on('disconnect', () => process.exit(1))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

while (!finish) await worker.act()
rmSync(registration, { force: true })
await worker.end()
// Descriptors are closed by threads of libuv and by `close` events.
await new Promise((resolve) => setTimeout(resolve, 300))
const mappers = childrenOf(process.pid).filter((it) => it.includes('mapper-main.js')).length
process.send({ type: 'ended', leaked: leakedDescriptors(before, ownDescriptors(), mappers) }, () =>
  process.exit(0),
)
