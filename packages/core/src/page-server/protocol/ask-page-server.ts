import { connect } from 'node:net'
import { abortError } from '../../abort-error.js'
import { type ErrorCode, errorRegistry, VarveError } from '../../errors.js'
import { LineCutter } from '../../helper/line-cutter.js'

/** A full trace of an image of 128 GiB is half of this. */
const maxAnswerLength = 64 * 1024 * 1024
/** A server that is stopped by a debugger must not hold its owner for ever. */
const answerTimeoutMs = 30_000

export interface Request {
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
    const cutter = new LineCutter(maxAnswerLength)
    socket.once('error', (cause) => fail(cause.message, { cause, gone: true }))
    socket.once('close', () => fail('closed without an answer', { gone: true }))
    socket.setEncoding('utf8').on('data', (part: string) => {
      let answer: { error?: unknown; code?: unknown; kind?: unknown } | null
      try {
        const [line] = cutter.cut(part)
        if (line === undefined) return
        answer = JSON.parse(line) as typeof answer
      } catch (cause) {
        return fail(cause instanceof VarveError ? cause.message : 'the answer is not JSON', { cause })
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
