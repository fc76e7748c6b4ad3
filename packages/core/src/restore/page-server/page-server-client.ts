import { connect } from 'node:net'
import { type ErrorCode, errorRegistry, VarveError } from '../../errors.js'
import type { FaultSource } from '../../working-set/recording.js'
import type { ServingProcesses } from './control.js'
import type { CounterName } from './fault-loop.js'
import { pageServerFiles } from './page-server-files.js'
import type { ServedPrefetch } from './prefetch.js'
import { recordedFromJson } from './recorded-answer.js'

export type PageServerStats = Readonly<Record<CounterName, number>>

/** What can be asked of a running page server, by its VM's owner. */
export interface PageServerClient extends FaultSource {
  stats(options?: { readonly signal?: AbortSignal }): Promise<PageServerStats>
  /** Who serves the VM at the moment, and who guards that. */
  processes(options?: { readonly signal?: AbortSignal }): Promise<ServingProcesses>
  /** What fetching ahead did so far. With `wait`, once it has come to an end. INVALID_ARGUMENT where there is none. */
  prefetched(options?: {
    readonly wait?: boolean
    readonly signal?: AbortSignal | undefined
  }): Promise<ServedPrefetch>
}

/** A full trace of an image of 128 GiB is half of this. */
const maxAnswerBytes = 64 * 1024 * 1024
/** A server that is stopped by a debugger must not hold its owner for ever. */
const answerTimeoutMs = 30_000

/** The server of the VM in `directory`, whose image has `pages`. Nothing is asked yet. */
export function pageServerClient(directory: string, pages: number): PageServerClient {
  const path = pageServerFiles(directory).control
  return {
    stats: (ofCall) => askPageServer(path, { op: 'stats' }, ofCall) as Promise<PageServerStats>,
    processes: (ofCall) => askPageServer(path, { op: 'processes' }, ofCall) as Promise<ServingProcesses>,
    prefetched: async ({ wait = false, signal } = {}) => {
      for (;;) {
        const answer = await askPageServer(path, { op: 'prefetched', wait }, { signal })
        const report = answer as ServedPrefetch
        if (!wait || (report.state !== 'waiting' && report.state !== 'running')) return report
      }
    },
    record: async ({ writes, signal }) => {
      const answer = await askPageServer(path, { op: 'record', writes }, { signal })
      return { fromTheFirst: (answer as { fromTheFirst?: unknown }).fromTheFirst === true }
    },
    recorded: async ({ next = 'go-on', signal } = {}) =>
      recordedFromJson(await askPageServer(path, { op: 'recorded', next }, { signal }), pages),
  }
}

/** One request, one answer. Errors: the server's own, TIMEOUT, INTERRUPTED, PAGE_SERVER_PROTOCOL. */
export function askPageServer(
  path: string,
  request: { readonly op: string; readonly [name: string]: unknown },
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<unknown> {
  const { op } = request
  return new Promise((resolve, reject) => {
    const fail = (detail: string, { cause, code = 'PAGE_SERVER_PROTOCOL', gone = false }: Failure = {}) => {
      const details = gone ? { gone } : {}
      settle(() => reject(new VarveError(code, `${op} on ${path}: ${detail}`, { cause, details })))
    }
    const timer = setTimeout(
      () => settle(() => reject(new VarveError('TIMEOUT', `${op}: no answer in ${answerTimeoutMs} ms`))),
      answerTimeoutMs,
    )
    const onAbort = () =>
      settle(() => reject(new VarveError('INTERRUPTED', `${op} was aborted`, { cause: signal?.reason })))
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
      let answer: { error?: unknown; code?: unknown } | null
      try {
        answer = JSON.parse(text.slice(0, text.indexOf('\n'))) as typeof answer
      } catch (cause) {
        return fail('the answer is not JSON', { cause })
      }
      const { error, code } = answer ?? { error: 'null' }
      if (error !== undefined) fail(String(error), knownCode(code))
      else settle(() => resolve(answer))
    })
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) onAbort()
  })
}

interface Failure {
  readonly cause?: unknown
  readonly code?: ErrorCode
  readonly gone?: boolean
}

/** Nobody listens there, or who did has ended without an answer. */
export const isGone = (error: unknown): boolean => error instanceof VarveError && error.details.gone === true

function knownCode(code: unknown): Failure {
  return typeof code === 'string' && Object.hasOwn(errorRegistry, code) ? { code: code as ErrorCode } : {}
}
