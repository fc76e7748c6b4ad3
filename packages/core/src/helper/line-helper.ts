import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { VarveError } from '../errors.js'
import { LineCutter } from './line-cutter.js'
import { spawnHelper } from './spawn-helper.js'

/** An answer is a report or an error. */
const maxAnswerLength = 1024 * 1024

export interface LineHelperOptions {
  /** Its script; its argument is the process with which it ends. */
  readonly program: string
  /** The error for a helper that cannot be started. */
  cannotStart(error: Error): VarveError
  /** The error for one that has ended, with the last words of its standard error. */
  hasEnded(code: number | null, signal: NodeJS.Signals | null, lastWords: string): VarveError
}

/**
 * A process of this package that takes orders and gives answers, each one line of JSON, over its standard
 * input and output. It ends with this process. This process waits for it only while it awaits an answer.
 */
export class LineHelper<Answer> {
  readonly #child: ChildProcess
  readonly #onEnd: () => void
  readonly #lines = new LineCutter(maxAnswerLength)
  readonly #answers: Answer[] = []
  #lastWords = ''
  #waiting: ((answer: Answer | Error) => void) | undefined
  #failed: Error | undefined

  constructor({ program, cannotStart, hasEnded }: LineHelperOptions, onEnd: () => void = () => {}) {
    this.#onEnd = onEnd
    // Orders may name files relative to this process's directory.
    this.#child = spawnHelper(program, [`${process.pid}`], { stdio: 'pipe', directory: process.cwd() })
    const { stdin, stdout, stderr } = this.#child
    this.#child.once('error', (error) => this.#fail(cannotStart(error)))
    this.#child.once('exit', (code, signal) => this.#fail(hasEnded(code, signal, this.#lastWords)))
    stdin?.on('error', () => {})
    stderr?.setEncoding('utf8').on('data', (part: string) => {
      this.#lastWords = (this.#lastWords + part).slice(-2000)
    })
    stdout?.setEncoding('utf8').on('data', (part: string) => this.#read(part))
    for (const stream of [stdin, stdout, stderr]) (stream as Socket | null)?.unref()
  }

  get usable(): boolean {
    return this.#failed === undefined
  }

  send(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  /** The next answer. Fails as soon as the helper has ended. */
  async next(): Promise<Answer> {
    // Until it answers or ends, this process has something to wait for.
    this.#child.ref()
    try {
      const answer = this.#answers.shift() ?? this.#failed ?? (await this.#arrival())
      if (answer instanceof Error) throw answer
      return answer
    } finally {
      this.#child.unref()
    }
  }

  /** Ends it at once, also in the middle of an order. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** The same; when this resolves, it has nothing open any more. */
  async end(): Promise<void> {
    this.kill()
    if (this.#failed !== undefined) return
    this.#child.ref()
    await once(this.#child, 'exit')
  }

  #arrival(): Promise<Answer | Error> {
    return new Promise((resolve) => {
      this.#waiting = resolve
    })
  }

  #read(part: string): void {
    for (const line of this.#lines.cut(part)) {
      const answer = JSON.parse(line) as Answer
      if (this.#waiting === undefined) this.#answers.push(answer)
      else this.#settle(answer)
    }
  }

  #settle(answer: Answer | Error): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.(answer)
  }

  #fail(error: Error): void {
    this.#failed ??= error
    this.#onEnd()
    this.#settle(this.#failed)
  }
}
