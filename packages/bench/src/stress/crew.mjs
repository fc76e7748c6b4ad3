import { fork } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pageServerRoot, processIdentity } from 'varve/testing'
import { lockHolders, processesOf, stateOf } from './processes.mjs'
import { runEnvironment } from './run.mjs'

const script = fileURLToPath(new URL('worker.mjs', import.meta.url))

/** The longest action, a restore on a busy host with a page server to start, takes seconds. */
const hangMs = 90_000

/** The workers of a run: started, replaced when another worker killed them, watched, and asked to end. */
export class Crew {
  failures = []
  actions = {}
  pages = 0
  restores = 0
  killed = 0
  #run
  #options
  #ledger
  #living = new Map()
  #ending = false
  #watch

  constructor(run, options, ledger) {
    this.#run = run
    this.#options = options
    this.#ledger = ledger
    for (let number = 0; number < options.processes; number++) this.#start(number, 0)
    this.#watch = setInterval(() => this.#lookForHangs(), 1000)
  }

  #start(number, generation) {
    const id = `w${number}-${generation}`
    const seed = `${this.#options.seed}/${number}/${generation}`
    const order = { directory: this.#run.directory, id, seed, only: this.#options.only }
    const child = fork(script, [JSON.stringify(order)], {
      env: runEnvironment(this.#run),
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Ctrl-C is for the driver, which ends the workers.
      detached: true,
    })
    const member = {
      id,
      seed,
      child,
      identity: processIdentity(child.pid),
      words: '',
      heard: performance.now(),
    }
    child.stderr.setEncoding('utf8').on('data', (text) => {
      member.words = (member.words + text).slice(-4000)
    })
    child.on('message', (message) => this.#take(member, message))
    member.ended = new Promise((resolve) =>
      child.once('close', (code, signal) => {
        this.#living.delete(id)
        rmSync(join(this.#run.workers, `${id}.json`), { force: true })
        this.#judgeEnd(member, code, signal)
        if (signal === 'SIGKILL' && !this.#ending) this.#start(number, generation + 1)
        resolve()
      }),
    )
    this.#living.set(id, member)
  }

  #take(member, message) {
    member.heard = performance.now()
    if (message.type === 'ended') {
      for (const leak of message.leaked) this.#fail(member, `descriptors left open: ${leak}`)
      member.told = true
      return
    }
    const { action, ok, pages = 0, why, skipped, code, error, ms } = message.line
    this.actions[action] ??= { done: 0, skipped: 0, lawful: {}, failed: 0, ms: 0 }
    const counts = this.actions[action]
    counts.ms += ms
    if (skipped !== undefined) counts.skipped++
    else if (ok) counts.done++
    else if (why !== undefined) counts.lawful[code] = (counts.lawful[code] ?? 0) + 1
    else counts.failed++
    this.pages += pages
    if (error !== undefined) this.#fail(member, `${message.line.op} ${action}: ${error}`)
  }

  #judgeEnd(member, code, signal) {
    const isThis = ({ what, pid, startTime }) =>
      what === 'worker' && pid === member.identity?.pid && startTime === member.identity.startTime
    const asked = this.#ledger.kills().some(isThis)
    if (signal === 'SIGKILL' && (asked || member.hangs)) {
      this.killed++
      return
    }
    if (this.stopped || (code === 0 && member.told)) return
    this.#fail(member, `ended with ${signal ?? `exit status ${code}`}: ${member.words}`)
  }

  #fail({ id, seed }, what) {
    const path = join(this.#run.logs, `${id}.jsonl`)
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
    this.failures.push({ worker: id, seed, what, last: lines.slice(-40) })
  }

  #lookForHangs() {
    for (const member of this.#living.values()) {
      if (performance.now() - member.heard < hangMs || member.hangs) continue
      member.hangs = true
      const states = processesOf(this.#run.directory).map(stateOf).join('\n')
      const holders = lockHolders(pageServerRoot(this.#run.runtime).serverLock)
      this.#fail(
        member,
        `an action takes longer than ${hangMs} ms; the page server's lock is held by ${holders}; the processes of the run:\n${states}`,
      )
      member.child.kill('SIGKILL')
    }
  }

  /** Each worker ends its action, stops its machines and reports its open descriptors. */
  async finish() {
    this.#ending = true
    for (const { child } of this.#living.values()) if (child.connected) child.send('finish')
    await Promise.all([...this.#living.values()].map(({ ended }) => ended))
    clearInterval(this.#watch)
  }

  /** Ends the workers without a result. */
  async stop() {
    this.#ending = true
    this.stopped = true
    clearInterval(this.#watch)
    const all = [...this.#living.values()]
    for (const { child } of all) child.kill('SIGTERM')
    const timer = setTimeout(() => {
      for (const { child } of all) child.kill('SIGKILL')
    }, 10_000)
    await Promise.all(all.map(({ ended }) => ended))
    clearTimeout(timer)
  }
}
