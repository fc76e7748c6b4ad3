import { once } from 'node:events'
import { mkdirSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join, resolve } from 'node:path'
import { isVarveError, pathError, VarveError } from 'varve'
import { abortError } from 'varve/testing'
import type { Accelerator } from './accelerator.js'
import { consoleTail } from './console-log.js'
import { Job, type LabRunResult, withResolvers } from './job.js'
import { encodeFrame, FrameDecoder, type Message, maxBodyBytes } from './job-frames.js'
import type { Qemu } from './qemu.js'

export interface LabRunOptions {
  /**
   * Path of a JavaScript module on this machine, or its code. It may import `varve`, `@varve/lab` and node:*.
   */
  readonly script: string | { readonly code: string }
  readonly args?: readonly string[]
  /** Files that the script finds in its working folder: name there → path here. */
  readonly files?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  /** Where files from $VARVE_LAB_OUTPUT go. Default: a folder that ends with the lab. */
  readonly outputDirectory?: string
  /** Default: 2 minutes. */
  readonly timeoutMs?: number
  readonly onOutput?: (text: string, stream: 'stdout' | 'stderr') => void
  readonly signal?: AbortSignal | undefined
}

/** Starting the runner's Node and a kill of the script's process group take well below a second. */
const killGraceMs = 10_000

/** A running lab. Scripts may run side by side. */
export class NestedLab implements AsyncDisposable {
  readonly accelerator: Accelerator
  /** Console of the lab's host; the file stays after the lab. */
  readonly consoleLogPath: string
  readonly #directory: string
  readonly #qemu: Qemu
  readonly #channel: Socket
  readonly #discard: () => void
  readonly #jobs = new Map<number, Job>()
  readonly #hello = withResolvers<Extract<Message, { type: 'hello' }>>()
  #lastJob = 0
  #failure: VarveError | undefined

  /** @internal Use `openNestedLab` (open-lab.ts). */
  constructor(
    accelerator: Accelerator,
    consoleLogPath: string,
    directory: string,
    qemu: Qemu,
    channel: Socket,
    discard: () => void,
  ) {
    this.accelerator = accelerator
    this.consoleLogPath = consoleLogPath
    this.#directory = directory
    this.#qemu = qemu
    this.#channel = channel
    this.#discard = discard
    this.#hello.promise.catch(() => {})
    // A reset shows in the reader as the end of the channel.
    channel.on('error', () => {})
    this.#read().catch((error: unknown) => this.#fail(String(error), error))
  }

  /** @internal */
  async untilReady(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const hello = await this.#within(this.#hello.promise, 'the nested lab’s boot', timeoutMs, signal)
    if (!hello.kvm) throw this.#error('LAB_FAILED', 'the nested lab has no /dev/kvm')
  }

  /**
   * Runs a script to its end. A script that fails is not an error here: look at `exitCode`. Errors: TIMEOUT
   * and INTERRUPTED (the script's process group has been killed), LAB_FAILED, NOT_FOUND (a file to be sent).
   */
  async run(options: LabRunOptions): Promise<LabRunResult> {
    const { timeoutMs = 120_000, signal } = options
    if (this.#failure) throw this.#failure
    if (signal?.aborted) throw abortError(signal, 'a run')
    const id = ++this.#lastJob
    const output = resolve(options.outputDirectory ?? join(this.#directory, `output-${id}`))
    mkdirSync(output, { recursive: true, mode: 0o700 })
    const job = new Job(output, options.onOutput ?? (() => {}))
    this.#jobs.set(id, job)
    const phase = { started: false, over: false }
    const whole = this.#start(id, options, phase).then(() => job.finished)
    whole.catch(() => {})
    try {
      return await this.#within(whole, `script ${id} in the nested lab`, timeoutMs, signal, () =>
        job.lastWords === '' ? '' : `; its last words: ${job.lastWords}`,
      )
    } catch (error) {
      phase.over = true
      if (this.#failure) throw this.#failure
      if (phase.started) await this.#kill(id, job)
      throw error
    } finally {
      this.#jobs.delete(id)
    }
  }

  /** Sends the job's files and has it started, unless it is over by then. */
  async #start(
    job: number,
    options: LabRunOptions,
    phase: { started: boolean; over: boolean },
  ): Promise<void> {
    const { script, args = [], env = {}, files = {} } = options
    const isOver = () => phase.over
    if (typeof script === 'string') await this.#sendFile(job, 'script.mjs', script, isOver)
    else await this.#sendText(job, 'script.mjs', script.code)
    for (const [name, path] of Object.entries(files)) await this.#sendFile(job, name, path, isOver)
    if (phase.over) return
    phase.started = true
    await this.#send({ type: 'start', job, args, env })
  }

  /** A lab that does not even kill is of no further use; an emulated one has been seen to hang. */
  async #kill(id: number, job: Job): Promise<void> {
    const killed = this.#send({ type: 'kill', job: id }).then(() => job.finished)
    killed.catch(() => {})
    try {
      await this.#within(killed, `killing script ${id}`, killGraceMs)
    } catch (lost) {
      if (isVarveError(lost, 'TIMEOUT')) this.#fail('it does not answer any more', lost)
    }
  }

  /** Ends the lab at once. Files in the default output folders go with it. */
  async close(): Promise<void> {
    this.#failure ??= new VarveError('LAB_FAILED', 'the nested lab was closed')
    for (const job of this.#jobs.values()) job.fail(this.#failure)
    this.#channel.destroy()
    this.#discard()
    await this.#qemu.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #read(): Promise<void> {
    const decoder = new FrameDecoder()
    for await (const chunk of this.#channel)
      for (const frame of decoder.push(chunk as Buffer)) {
        if (frame.message.type === 'hello') this.#hello.resolve(frame.message)
        else if ('job' in frame.message) await this.#jobs.get(frame.message.job)?.take(frame)
      }
    this.#fail(await this.#qemu.ended)
  }

  #fail(why: string, cause?: unknown): void {
    this.#failure ??= this.#error('LAB_FAILED', `the nested lab ended: ${why}`, cause)
    this.#qemu.kill()
    this.#hello.reject(this.#failure)
    for (const job of this.#jobs.values()) job.fail(this.#failure)
  }

  #error(code: 'LAB_FAILED' | 'TIMEOUT', message: string, cause?: unknown): VarveError {
    const tail = consoleTail(this.consoleLogPath)
    return new VarveError(code, tail === '' ? message : `${message} (console: ${tail})`, {
      cause,
      remedy: `see the console log, ${this.consoleLogPath}`,
      details: { consoleLogPath: this.consoleLogPath },
    })
  }

  async #within<T>(
    promise: Promise<T>,
    what: string,
    timeoutMs: number,
    signal?: AbortSignal,
    lastWords: () => string = () => '',
  ): Promise<T> {
    const stop = withResolvers<never>()
    const timer = setTimeout(
      () => stop.reject(this.#error('TIMEOUT', `${what} did not end within ${timeoutMs} ms${lastWords()}`)),
      timeoutMs,
    )
    const onAbort = () => stop.reject(abortError(signal, what))
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) onAbort()
    try {
      return await Promise.race([promise, stop.promise])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  async #sendText(job: number, path: string, text: string): Promise<void> {
    const bytes = Buffer.from(text, 'utf8')
    for (let at = 0; at === 0 || at < bytes.length; at += maxBodyBytes)
      await this.#send({ type: 'put', job, path, executable: false }, bytes.subarray(at, at + maxBodyBytes))
  }

  async #sendFile(job: number, path: string, source: string, isOver: () => boolean): Promise<void> {
    const file = await open(source).catch((cause: unknown) => {
      throw pathError(cause, `${source} cannot be read: ${String(cause)}`)
    })
    try {
      const executable = (statSync(source).mode & 0o111) !== 0
      for (let first = true; ; first = false) {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(maxBodyBytes), 0, maxBodyBytes)
        if (bytesRead > 0 || first)
          await this.#send({ type: 'put', job, path, executable }, buffer.subarray(0, bytesRead))
        if (bytesRead === 0 || isOver()) return
      }
    } finally {
      await file.close()
    }
  }

  async #send(message: Message, body?: Uint8Array): Promise<void> {
    if (this.#failure) throw this.#failure
    if (!this.#channel.write(encodeFrame(message, body)))
      // An error of the channel means the end of the lab, which the reader reports.
      await Promise.race([once(this.#channel, 'drain').catch(() => this.#qemu.ended), this.#qemu.ended])
    if (this.#failure) throw this.#failure
  }
}
