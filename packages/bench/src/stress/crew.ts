import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ProcessIdentity } from 'varve'
import { pageServerRoot, processIdentity } from 'varve/testing'
import type { ActionName } from './actions.js'
import type { Kill, Ledger } from './ledger.js'
import { lockHolders, processesOf, stateOf } from './processes.js'
import { type RunPaths, runEnvironment } from './run.js'
import type { Failure } from './settle.js'
import type { WorkerMessage, WorkerOrder } from './worker-messages.js'

const script = fileURLToPath(new URL('worker-main.js', import.meta.url))

/** The longest action, a restore on a busy host with a page server to start, takes seconds. */
const hangMs = 90_000

export interface CrewOptions {
  readonly processes: number
  readonly seed: string
  readonly only: readonly string[]
}

/** What came of one action. */
export interface ActionCounts {
  done: number
  skipped: number
  /** Failures that are right, by code. */
  readonly lawful: Record<string, number>
  failed: number
  ms: number
}

interface Member {
  readonly id: string
  readonly seed: string
  readonly child: ChildProcess
  readonly identity: ProcessIdentity | undefined
  readonly ended: Promise<void>
  /** The end of its standard error. */
  words: string
  /** When it last told of an action. */
  heard: number
  /** It told that it ended. */
  told: boolean
  hangs: boolean
}

/** The workers of a run: started, replaced when another worker killed them, watched, and asked to end. */
export class Crew {
  readonly failures: Failure[] = []
  readonly actions: Partial<Record<ActionName, ActionCounts>> = {}
  pages = 0
  killed = 0
  readonly #run: RunPaths
  readonly #options: CrewOptions
  readonly #ledger: Ledger
  readonly #living = new Map<string, Member>()
  #ending = false
  #stopped = false
  readonly #watch: NodeJS.Timeout

  constructor(run: RunPaths, options: CrewOptions, ledger: Ledger) {
    this.#run = run
    this.#options = options
    this.#ledger = ledger
    for (let number = 0; number < options.processes; number++) this.#start(number, 0)
    this.#watch = setInterval(() => this.#lookForHangs(), 1000)
  }

  #start(number: number, generation: number): void {
    const id = `w${number}-${generation}`
    const seed = `${this.#options.seed}/${number}/${generation}`
    const order: WorkerOrder = { directory: this.#run.directory, id, seed, only: this.#options.only }
    const child = fork(script, [JSON.stringify(order)], {
      env: runEnvironment(this.#run),
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // Ctrl-C is for the driver, which ends the workers.
      detached: true,
    })
    const member: Member = {
      id,
      seed,
      child,
      identity: child.pid === undefined ? undefined : processIdentity(child.pid),
      ended: new Promise((resolve) =>
        child.once('close', (code, signal) => {
          this.#living.delete(id)
          rmSync(join(this.#run.workers, `${id}.json`), { force: true })
          this.#judgeEnd(member, code, signal)
          if (signal === 'SIGKILL' && !this.#ending) this.#start(number, generation + 1)
          resolve()
        }),
      ),
      words: '',
      heard: performance.now(),
      told: false,
      hangs: false,
    }
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      member.words = (member.words + text).slice(-4000)
    })
    child.on('message', (message) => this.#take(member, message as WorkerMessage))
    this.#living.set(id, member)
  }

  #take(member: Member, message: WorkerMessage): void {
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
    else if (why !== undefined && code !== undefined) counts.lawful[code] = (counts.lawful[code] ?? 0) + 1
    else counts.failed++
    this.pages += pages
    if (error !== undefined) this.#fail(member, `${message.line.op} ${action}: ${error}`)
  }

  #judgeEnd(member: Member, code: number | null, signal: NodeJS.Signals | null): void {
    const isThis = ({ what, pid, startTime }: Kill) =>
      what === 'worker' && pid === member.identity?.pid && startTime === member.identity.startTime
    const asked = this.#ledger.kills().some(isThis)
    if (signal === 'SIGKILL' && (asked || member.hangs)) {
      this.killed++
      return
    }
    if (this.#stopped || (code === 0 && member.told)) return
    this.#fail(member, `ended with ${signal ?? `exit status ${code}`}: ${member.words}`)
  }

  #fail({ id, seed }: Member, what: string): void {
    const path = join(this.#run.logs, `${id}.jsonl`)
    const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
    this.failures.push({ worker: id, seed, what, last: lines.slice(-40) })
  }

  #lookForHangs(): void {
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
  async finish(): Promise<void> {
    this.#ending = true
    for (const { child } of this.#living.values()) if (child.connected) child.send('finish')
    await Promise.all([...this.#living.values()].map(({ ended }) => ended))
    clearInterval(this.#watch)
  }

  /** Ends the workers without a result. */
  async stop(): Promise<void> {
    this.#ending = true
    this.#stopped = true
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
