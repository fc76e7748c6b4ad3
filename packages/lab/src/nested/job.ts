import { mkdirSync } from 'node:fs'
import { appendFile, writeFile } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { VarveError } from 'varve'
import type { Frame } from './job-frames.js'

export interface LabRunResult {
  /** Null if a signal ended the script. */
  readonly exitCode: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
  /** What the script wrote to $VARVE_LAB_RESULT as JSON; undefined if nothing. */
  readonly result: unknown
  /** Folder with the files that the script left in $VARVE_LAB_OUTPUT. */
  readonly files: string
}

/** Output beyond this is dropped: it is for people to read. */
const maxOutputBytes = 16 * 1024 * 1024
const maxResultBytes = 64 * 1024 * 1024
/** All files of one job together. */
const maxFilesBytes = 16 * 1024 * 1024 * 1024

/** Collects what one script sends back. */
export class Job {
  readonly finished: Promise<LabRunResult>
  readonly #settle: { resolve: (result: LabRunResult) => void; reject: (error: unknown) => void }
  readonly #files: string
  readonly #onOutput: (text: string, stream: 'stdout' | 'stderr') => void
  readonly #output = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  readonly #result: Buffer[] = []
  readonly #seen = new Set<string>()
  #outputBytes = 0
  #resultBytes = 0
  #filesBytes = 0

  constructor(files: string, onOutput: (text: string, stream: 'stdout' | 'stderr') => void) {
    this.#files = files
    this.#onOutput = onOutput
    const { promise, resolve, reject } = withResolvers<LabRunResult>()
    this.finished = promise
    this.#settle = { resolve, reject }
    // The caller that runs the job awaits `finished` only after its files are sent; until
    // then a failure is not unhandled.
    promise.catch(() => {})
  }

  fail(error: unknown): void {
    this.#settle.reject(error)
  }

  /** The last lines of both streams, for errors. */
  get lastWords(): string {
    return `${this.#text('stderr')}\n${this.#text('stdout')}`.trim().slice(-1000)
  }

  async take({ message, body }: Frame): Promise<void> {
    switch (message.type) {
      case 'output':
        this.#outputBytes += body.length
        if (this.#outputBytes <= maxOutputBytes) this.#output[message.stream].push(Buffer.from(body))
        this.#onOutput(body.toString('utf8'), message.stream)
        return
      case 'result':
        this.#resultBytes += body.length
        if (this.#resultBytes > maxResultBytes)
          throw new VarveError('LAB_FAILED', `a script's result exceeds ${maxResultBytes} bytes`)
        this.#result.push(Buffer.from(body))
        return
      case 'file':
        return this.#takeFile(message.path, body)
      case 'done':
        if (message.error !== undefined)
          return this.fail(new VarveError('LAB_FAILED', `the lab could not run the script: ${message.error}`))
        return this.#finish(message.exitCode, message.signal)
      default:
        throw new VarveError('LAB_FAILED', `the lab sent a ${message.type} message`)
    }
  }

  async #takeFile(path: string, body: Buffer): Promise<void> {
    const target = normalize(join(this.#files, path))
    if (!target.startsWith(`${this.#files}/`))
      throw new VarveError('PATH_INVALID', `the lab sent a file ${path}, outside the output folder`)
    this.#filesBytes += body.length
    if (this.#filesBytes > maxFilesBytes)
      throw new VarveError('LAB_FAILED', `a script's files exceed ${maxFilesBytes} bytes`)
    if (this.#seen.has(target)) return appendFile(target, body)
    this.#seen.add(target)
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 })
    await writeFile(target, body, { mode: 0o600 })
  }

  #finish(exitCode: number | null, signal: string | null): void {
    const text = Buffer.concat(this.#result).toString('utf8')
    let result: unknown
    try {
      result = text === '' ? undefined : JSON.parse(text)
    } catch (cause) {
      this.fail(
        new VarveError('LAB_FAILED', `a script's result is not JSON: ${text.slice(0, 100)}`, { cause }),
      )
      return
    }
    this.#settle.resolve({
      exitCode,
      signal,
      stdout: this.#text('stdout'),
      stderr: this.#text('stderr'),
      result,
      files: this.#files,
    })
  }

  #text(stream: 'stdout' | 'stderr'): string {
    return Buffer.concat(this.#output[stream]).toString('utf8')
  }
}

/** Promise.withResolvers, which Node 20 lacks. */
export function withResolvers<T>(): {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (error: unknown) => void
} {
  let resolve: (value: T) => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
