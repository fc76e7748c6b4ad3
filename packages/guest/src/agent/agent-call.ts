import type { Socket } from 'node:net'
import { VarveError } from 'varve'
import { abortError, FirstAbort } from 'varve/testing'
import { frameKind, maxSteps, silenceMs, tag, type VerbName, windowBytes } from './bounds.js'
import { deferred } from './deferred.js'
import { type AgentAddress, dialAgent } from './dial.js'
import { AnswerFields, broken, type Field, numberIn } from './fields.js'
import { encodeFrame, FrameReader } from './frames.js'
import { ReceivedStream } from './received-stream.js'
import { plain, refusal } from './refusal.js'
import { encodeRequest } from './request.js'
import { SentStream } from './sent-stream.js'

/** One step of a fix-up, or one program of a hook. */
export interface Step {
  readonly name: string
  readonly ms: number
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** For the whole call, connecting included; undefined: as long as it takes. */
  readonly timeoutMs?: number | undefined
  /** For connecting alone: the guest may still be booting. Default: 30 s. */
  readonly connectMs?: number | undefined
  /** Which of the streams from the guest are read. */
  readonly streams?: readonly (1 | 2)[]
}

/** What a PONG says. */
export interface Pong {
  readonly wallNs: bigint
  readonly sentAt: number
  readonly receivedAt: number
}

const nothing = new Uint8Array(0)
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

/**
 * One call, which has a connection to itself (docs/formats/guest-agent.md). Disposing of it ends the
 * connection, and with it what the guest does for the call. Errors of its promises and streams:
 * GUEST_REFUSED (the agent's FAIL), GUEST_LOST (the connection ended), GUEST_PROTOCOL, TIMEOUT,
 * INTERRUPTED.
 */
export class AgentCall implements Disposable {
  /** The work has begun. */
  readonly accepted: Promise<AnswerFields>
  readonly result: Promise<AnswerFields>
  readonly input: SentStream
  readonly output: ReceivedStream
  readonly errorOutput: ReceivedStream
  readonly steps: Step[] = []
  readonly #socket: Socket
  readonly #what: string
  readonly #ends: FirstAbort
  readonly #reader = new FrameReader()
  readonly #accepted = deferred<AnswerFields>()
  readonly #result = deferred<AnswerFields>()
  readonly #pings: { sentAt: number; resolve: (pong: Pong) => void; reject: (error: unknown) => void }[] = []
  #heard = true
  #settled = false
  #timer: NodeJS.Timeout | undefined

  /** Connects, and sends nothing yet. `what` names the call in messages: "exec of python3". */
  static async connect(address: AgentAddress, what: string, options: CallOptions = {}): Promise<AgentCall> {
    const { signal, timeoutMs, connectMs = 30_000 } = options
    const limit = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)
    const ends = new FirstAbort([signal, limit])
    try {
      using connecting = new FirstAbort([ends.signal, AbortSignal.timeout(connectMs)])
      const socket = await dialAgent(address, connecting.signal)
      return new AgentCall(socket, `${what} at ${address.path}`, ends)
    } catch (error) {
      ends[Symbol.dispose]()
      throw error
    }
  }

  /** Connects and sends the request. */
  static async open(
    address: AgentAddress,
    name: VerbName,
    fields: readonly Field[],
    options: CallOptions & { readonly what?: string } = {},
  ): Promise<AgentCall> {
    const request = encodeRequest(name, fields)
    const call = await AgentCall.connect(address, options.what ?? name, options)
    call.send(request, options.streams)
    return call
  }

  private constructor(socket: Socket, what: string, ends: FirstAbort) {
    this.#socket = socket
    this.#what = what
    this.#ends = ends
    this.accepted = this.#accepted.promise
    this.result = this.#result.promise
    // A caller may wait for one of them only.
    this.accepted.catch(() => {})
    this.result.catch(() => {})
    this.input = new SentStream(
      (data) => {
        this.#frame(frameKind.data, 0, data)
        return socket.writableLength < windowBytes
      },
      () => this.#frame(frameKind.end, 0, nothing),
    )
    socket.on('drain', () => this.input.drained())
    const received = (stream: number) =>
      new ReceivedStream(
        (bytes) => this.#frame(frameKind.credit, stream, u32(bytes)),
        () => this.#frame(frameKind.end, stream, nothing),
      )
    this.output = received(1)
    this.errorOutput = received(2)
    ends.signal.addEventListener('abort', this.#onAbort)
    socket.on('error', (cause) => this.#lost(cause)).on('close', () => this.#lost())
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    this.#timer = setInterval(() => this.#askForLife(), silenceMs)
    this.#timer.unref()
    if (ends.signal.aborted) this.#onAbort()
  }

  send(request: Buffer, streams: readonly (1 | 2)[] = []): void {
    this.#write(request)
    if (streams.includes(1)) this.output.start()
    if (streams.includes(2)) this.errorOutput.start()
  }

  /** A sign of life, with the guest's clock. */
  ping(): Promise<Pong> {
    const { promise, resolve, reject } = deferred<Pong>()
    promise.catch(() => {})
    if (this.#settled) reject(new VarveError('GUEST_LOST', `${this.#what}: the call is over`))
    else {
      this.#pings.push({ sentAt: performance.now(), resolve, reject })
      this.#frame(frameKind.ping, 0, nothing)
    }
    return promise
  }

  signal(number: number): void {
    this.#frame(frameKind.signal, 0, Buffer.from([number]))
  }

  resize(rows: number, columns: number): void {
    const size = Buffer.alloc(4)
    size.writeUInt16LE(rows, 0)
    size.writeUInt16LE(columns, 2)
    this.#frame(frameKind.resize, 0, size)
  }

  [Symbol.dispose](): void {
    this.#fail(new VarveError('INTERRUPTED', `${this.#what} was given up`))
  }

  #frame(kind: number, stream: number, payload: Uint8Array): void {
    if (!this.#settled) this.#write(encodeFrame(kind, stream, payload))
  }

  #write(bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes)
  }

  readonly #onAbort = () => this.#fail(abortError(this.#ends.signal, this.#what))

  /**
   * A reset of the guest's vsock device leaves a connection that says nothing; a packet on it brings the
   * answer that there is none. The socket's buffer bounds what a guest that is paused lets pile up.
   */
  #askForLife(): void {
    if (!this.#heard && this.#socket.writableLength === 0) void this.ping()
    this.#heard = false
  }

  #take(chunk: Buffer): void {
    this.#heard = true
    try {
      this.#reader.push(chunk, (kind, stream, payload) => this.#handle(kind, stream, payload))
    } catch (error) {
      this.#fail(error)
    }
  }

  #handle(kind: number, stream: number, payload: Buffer): void {
    if (this.#settled) return
    const handler = this.#handlers[kind]
    if (handler === undefined) throw broken(`a frame of kind ${kind}`)
    handler(payload, stream)
  }

  readonly #handlers: Readonly<Record<number, (payload: Buffer, stream: number) => void>> = {
    [frameKind.accepted]: (payload) => this.#accepted.resolve(new AnswerFields(payload)),
    [frameKind.data]: (payload, stream) => this.#received(stream).push(payload),
    [frameKind.end]: (_, stream) => {
      if (stream === 0) this.input.refused()
      else this.#received(stream).end()
    },
    [frameKind.credit]: (payload, stream) => {
      if (stream !== 0 || payload.length !== 4) throw broken('a CREDIT of another form')
      this.input.addCredit(payload.readUInt32LE(0))
    },
    [frameKind.step]: (payload) => this.#step(new AnswerFields(payload)),
    [frameKind.pong]: (payload) => this.#pong(payload),
    [frameKind.result]: (payload) => this.#finish(new AnswerFields(payload)),
    [frameKind.fail]: (payload) => this.#fail(refusal(this.#what, new AnswerFields(payload))),
  }

  #received(stream: number): ReceivedStream {
    if (stream === 1) return this.output
    if (stream === 2) return this.errorOutput
    throw broken(`a frame of stream ${stream}`)
  }

  #step(fields: AnswerFields): void {
    if (this.steps.length === maxSteps) throw broken(`more than ${maxSteps} steps`)
    const value = fields.all(tag.step)[0]
    if (value === undefined) throw broken('a STEP without a step')
    const name = plain(value.toString('utf8', 8, 8 + 128))
    this.steps.push({ name, ms: numberIn(value) / 1000 })
  }

  #pong(payload: Buffer): void {
    const ping = this.#pings.shift()
    if (ping === undefined || payload.length !== 16) throw broken('a PONG that was not asked for')
    ping.resolve({ wallNs: payload.readBigInt64LE(0), sentAt: ping.sentAt, receivedAt: performance.now() })
  }

  #finish(fields: AnswerFields): void {
    this.#settle()
    this.#accepted.resolve(fields)
    this.#result.resolve(fields)
    this.output.end()
    this.errorOutput.end()
    this.input.refused()
    for (const ping of this.#pings)
      ping.reject(new VarveError('GUEST_LOST', `${this.#what}: the call is over`))
  }

  #lost(cause?: unknown): void {
    this.#fail(
      new VarveError(
        'GUEST_LOST',
        `${this.#what}: the connection to the guest’s agent ended during the call`,
        {
          cause,
          remedy:
            'if a snapshot of the machine was taken, the call is lost: find out what it did, and call again',
        },
      ),
    )
  }

  #fail(error: unknown): void {
    if (this.#settled) return
    this.#settle()
    this.#accepted.reject(error)
    this.#result.reject(error)
    this.output.fail(error)
    this.errorOutput.fail(error)
    this.input.fail(error)
    for (const ping of this.#pings) ping.reject(error)
  }

  #settle(): void {
    this.#settled = true
    clearInterval(this.#timer)
    this.#ends.signal.removeEventListener('abort', this.#onAbort)
    this.#ends[Symbol.dispose]()
    this.#socket.removeAllListeners('data')
    this.#socket.destroy()
  }
}
