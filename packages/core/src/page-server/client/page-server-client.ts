import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { abortError } from '../../abort-error.js'
import { type ErrorCode, errorRegistry, VarveError } from '../../errors.js'
import type { FaultSource } from '../../working-set/recording.js'
import type { CounterName } from '../faults/fault-loop.js'
import type { ServedPrefetch } from '../prefetch/prefetch.js'
import type { ServingProcesses } from '../protocol/control.js'
import { pageServerFiles } from '../protocol/page-server-files.js'
import { recordedFromJson } from '../protocol/recorded-answer.js'
import { type GraduatedVm, readGraduated, type ServedGraduation } from '../protocol/served-graduation.js'

export type PageServerStats = Readonly<Record<CounterName, number>>

/** What can be asked of a running page server, by its VM's owner. */
export interface PageServerClient extends FaultSource {
  stats(options?: { readonly signal?: AbortSignal }): Promise<PageServerStats>
  /** Who serves the VM at the moment, and who guards that. */
  processes(options?: { readonly signal?: AbortSignal }): Promise<ServingProcesses>
  /** What fetching ahead did so far. With `wait`, once it has come to an end. INVALID_ARGUMENT where there is none. */
  prefetched(options?: WaitOptions): Promise<ServedPrefetch>
  /** How far the VM is on its way to needing no server. With `wait`, once that has an end. INVALID_ARGUMENT where it is not to. */
  graduation(options?: WaitOptions): Promise<ServedGraduation>
}

interface WaitOptions {
  readonly wait?: boolean
  readonly signal?: AbortSignal | undefined
}

/** A full trace of an image of 128 GiB is half of this. */
const maxAnswerBytes = 64 * 1024 * 1024
/** A server that is stopped by a debugger must not hold its owner for ever. */
const answerTimeoutMs = 30_000

/** The server of the VM in `directory`, whose image has `pages`. Nothing is asked yet. */
export function pageServerClient(directory: string, pages: number): PageServerClient {
  const { control: path, graduated } = pageServerFiles(directory)
  /** Of a VM that the server has left the last answers lie in its directory. */
  const ask = async (op: keyof GraduatedVm, { wait, signal }: WaitOptions = {}): Promise<unknown> => {
    try {
      return await askSuccessor(path, { op, ...(wait === undefined ? {} : { wait }) }, { signal })
    } catch (error) {
      const answers = isGone(error) ? readGraduated(graduated) : undefined
      if (answers === undefined) throw error
      if (answers[op] === null) throw new VarveError('INVALID_ARGUMENT', 'nothing was to be fetched ahead')
      return answers[op]
    }
  }
  /** With `wait` until it has come to an end. */
  const report = async <Report extends { readonly state: string }>(
    op: keyof GraduatedVm,
    { wait = false, signal }: WaitOptions = {},
  ): Promise<Report> => {
    for (;;) {
      const found = (await ask(op, { wait, signal })) as Report
      if (!wait || (found.state !== 'waiting' && found.state !== 'running')) return found
    }
  }
  return {
    stats: (ofCall) => ask('stats', ofCall) as Promise<PageServerStats>,
    processes: (ofCall) => askSuccessor(path, { op: 'processes' }, ofCall) as Promise<ServingProcesses>,
    prefetched: (ofCall) => report<ServedPrefetch>('prefetched', ofCall),
    graduation: (ofCall) => report<ServedGraduation>('graduation', ofCall),
    record: async ({ writes, signal }) => {
      const answer = await askSuccessor(path, { op: 'record', writes }, { signal })
      return { fromTheFirst: (answer as { fromTheFirst?: unknown }).fromTheFirst === true }
    },
    recorded: async ({ next = 'go-on', signal } = {}) => {
      try {
        return recordedFromJson(await askPageServer(path, { op: 'recorded', next }, { signal }), pages)
      } catch (cause) {
        // No successor knows more: what was recorded was in the memory of the server that has ended.
        if (isGone(cause))
          throw new VarveError('RECORDER_UNRELIABLE', 'the recording was lost: the page server has ended', {
            cause,
          })
        throw cause
      }
    },
  }
}

/** A successor listens within some 100 ms; on an emulated machine, where the guard itself is still starting, within seconds. */
const takeOverMs = 15_000

/** A request that may come twice: where the server dies, its successor answers. A recording that the first one began is lost. */
async function askSuccessor(
  path: string,
  request: Request,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<unknown> {
  for (const deadline = performance.now() + takeOverMs; ; await sleep(5)) {
    try {
      return await askPageServer(path, request, options)
    } catch (error) {
      // Whoever ends in good order, or has to kill the VM, takes its socket away.
      if (!isGone(error) || !existsSync(path) || performance.now() > deadline) throw error
    }
  }
}

interface Request {
  readonly op: string
  readonly [name: string]: unknown
}

/** One request, one answer. Errors: the server's own, TIMEOUT, INTERRUPTED, PAGE_SERVER_PROTOCOL. */
export function askPageServer(
  path: string,
  request: Request,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<unknown> {
  const { op } = request
  return new Promise((resolve, reject) => {
    const fail = (detail: string, { cause, code = 'PAGE_SERVER_PROTOCOL', ...details }: Failure = {}) => {
      settle(() => reject(new VarveError(code, `${op} on ${path}: ${detail}`, { cause, details })))
    }
    const timer = setTimeout(
      () => settle(() => reject(new VarveError('TIMEOUT', `${op}: no answer in ${answerTimeoutMs} ms`))),
      answerTimeoutMs,
    )
    const onAbort = () => settle(() => reject(abortError(signal, op)))
    const settle = (how: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.destroy()
      how()
    }
    const socket = connect(path, () => socket.write(`${JSON.stringify(request)}\n`))
    const parts: string[] = []
    let length = 0
    socket.once('error', (cause) => fail(cause.message, { cause, gone: true }))
    socket.once('close', () => fail('closed without an answer', { gone: true }))
    socket.setEncoding('utf8').on('data', (part: string) => {
      parts.push(part)
      length += part.length
      if (length > maxAnswerBytes) return fail(`answer exceeds ${maxAnswerBytes} bytes`)
      if (!part.includes('\n')) return
      const text = parts.join('')
      let answer: { error?: unknown; code?: unknown; kind?: unknown } | null
      try {
        answer = JSON.parse(text.slice(0, text.indexOf('\n'))) as typeof answer
      } catch (cause) {
        return fail('the answer is not JSON', { cause })
      }
      const { error, code, kind } = answer ?? { error: 'null' }
      if (error !== undefined) fail(String(error), { ...knownCode(code, kind), answered: true })
      else settle(() => resolve(answer))
    })
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) onAbort()
  })
}

interface Failure {
  readonly cause?: unknown
  readonly code?: ErrorCode
  readonly kind?: string
  /** Nothing listens there, or it has ended without an answer. */
  readonly gone?: true
  /** The server itself refused. */
  readonly answered?: true
}

/** The server itself refused the request: it was not carried out. */
export const isAnswer = (error: unknown): boolean =>
  error instanceof VarveError && error.details.answered === true

/** Nothing listens there, or the server has ended without an answer. */
export const isGone = (error: unknown): boolean => error instanceof VarveError && error.details.gone === true

function knownCode(code: unknown, kind: unknown): Failure {
  if (typeof code !== 'string' || !Object.hasOwn(errorRegistry, code)) return {}
  return { code: code as ErrorCode, ...(typeof kind === 'string' ? { kind } : {}) }
}
