import { isVarveError, VarveError } from 'varve'
import { abortError } from 'varve/testing'
import type { FunctionRuntime } from '../functions/function-types.js'
import { agentHostname, agentPort, functionFileName, functionName, maxEntropyBytes } from './agent-bounds.js'
import { ConnectionLost, exchange, provenConnection } from './agent-connection.js'
import { type AgentFrame, encodeAgentFrame } from './agent-frames.js'
import {
  type AgentHello,
  type FixedUp,
  type GuestMemory,
  parseFixedUp,
  parseHello,
  parseInvocation,
  parseList,
  parseMemory,
  parseStarted,
  type RunningFunction,
  type StartedFunction,
} from './agent-replies.js'

export interface AgentCallOptions {
  readonly signal?: AbortSignal | undefined
  /** For the whole call, connecting included. Default: 30 s. */
  readonly timeoutMs?: number
}

export interface Invocation {
  readonly output: Buffer
  /** From the request's arrival at the agent to its answer, by the guest's clock. */
  readonly guestMs: number
  /** The function alone, without its process's waking up; null for a program. */
  readonly handlerMs: number | null
  /** From the call to the agent's first sign of life: connecting, and waiting if the guest was not up yet. */
  readonly firstAnswerMs: number
  /** From the call to the whole output. */
  readonly totalMs: number
}

/** What a clone has to be told, as it comes from another machine's memory. */
export interface FixUp {
  /** Milliseconds since 1970. */
  readonly clockMs?: number
  readonly hostname?: string
  /** For the kernel's random numbers, up to 512 bytes. */
  readonly entropy?: Uint8Array
}

/** The agent in one guest. Each call is a connection of its own, so calls may run side by side. */
export interface GuestAgent {
  /** Waits until the agent answers: right after InstanceStart this is the wait for the guest's boot. */
  ping(options?: AgentCallOptions): Promise<AgentHello>
  /**
   * Puts a file into the folder of a function, which need not be started yet. Replaces one of the same name.
   */
  putFile(
    name: string,
    file: string,
    content: Uint8Array | string,
    options?: AgentCallOptions & { readonly executable?: boolean },
  ): Promise<void>
  /**
   * Starts a function from one of its files and waits until it is loaded. Stops
   * one that runs under this name.
   */
  start(
    name: string,
    what: { readonly runtime: FunctionRuntime; readonly file: string },
    options?: AgentCallOptions,
  ): Promise<StartedFunction>
  /**
   * `putFile` and `start` of a program: an executable file, say a `#!/bin/sh` script, run anew for each call.
   */
  put(name: string, program: Uint8Array | string, options?: AgentCallOptions): Promise<void>
  /** Runs a function once. It is sent once: what became of it is not known if its answer is lost. */
  invoke(name: string, input?: Uint8Array | string, options?: AgentCallOptions): Promise<Invocation>
  list(options?: AgentCallOptions): Promise<readonly RunningFunction[]>
  /** Ends a function's process and removes its files. */
  stop(name: string, options?: AgentCallOptions): Promise<void>
  /** Comes back when it has been done, with what was done; a guest that cannot is GUEST_PROTOCOL. */
  fixUp(what: FixUp, options?: AgentCallOptions): Promise<FixedUp>
  memory(options?: AgentCallOptions): Promise<GuestMemory>
}

/** The file that `put` makes of a program. */
const programFile = 'program'

/**
 * Of the agent's own limits for a start and an invocation: it should say what went
 * wrong before the host gives up.
 */
const agentShare = 0.9

/** `guestAgent` for a machine, which must have a vsock device. */
export function connectAgent(machine: { readonly vsockPath: string | null }): GuestAgent {
  if (machine.vsockPath === null)
    throw new VarveError('INVALID_ARGUMENT', 'the machine has no vsock device', {
      remedy: 'boot it with vsockCid',
    })
  return guestAgent(machine.vsockPath)
}

/**
 * Talks to the agent over the Unix socket of the VM's vsock device (docs/formats/agent-protocol.md). Errors:
 * INVALID_ARGUMENT, GUEST_PROTOCOL (the agent or the function failed, `details.agentCode` says how, or the
 * answer is not one), TIMEOUT, INTERRUPTED.
 */
export function guestAgent(vsockPath: string, port: number = agentPort): GuestAgent {
  const call = async <T>(
    what: string,
    request: Buffer | null,
    parse: (frame: AgentFrame, firstAnswerMs: number) => T,
    options: AgentCallOptions,
  ): Promise<T> => {
    const { signal, timeoutMs = 30_000 } = options
    const timeout = AbortSignal.timeout(timeoutMs)
    const ends = signal === undefined ? timeout : AbortSignal.any([timeout, signal])
    const start = performance.now()
    try {
      const { socket, hello } = await provenConnection(vsockPath, port, ends)
      const firstAnswerMs = performance.now() - start
      try {
        const frame = request === null ? hello : await exchange(socket, request, ends)
        return parse(accepted(frame), firstAnswerMs)
      } finally {
        socket.destroy()
      }
    } catch (error) {
      const told = `${what} over ${vsockPath}`
      if (signal?.aborted) throw abortError(signal, told)
      if (timeout.aborted)
        throw new VarveError('TIMEOUT', `${told}: no answer within ${timeoutMs} ms`, { cause: error })
      if (isVarveError(error, 'GUEST_PROTOCOL'))
        throw new VarveError('GUEST_PROTOCOL', `${told}: ${error.message}`, {
          cause: error,
          details: error.details,
        })
      if (error instanceof ConnectionLost)
        throw new VarveError('GUEST_PROTOCOL', `${told}: the guest closed before it answered`, {
          cause: error,
        })
      throw error
    }
  }
  const inGuest = ({ timeoutMs = 30_000 }: AgentCallOptions) => Math.ceil(timeoutMs * agentShare)
  const ask = <T>(
    header: { readonly op: string; readonly function?: string; readonly [field: string]: unknown },
    body: Uint8Array | string,
    parse: (frame: AgentFrame, firstAnswerMs: number) => T,
    options: AgentCallOptions,
  ) => {
    const name = header.function
    if (name !== undefined) assertMatches('function name', name, functionName)
    const what = name === undefined ? header.op : `${header.op} ${name}`
    return call(what, encodeAgentFrame(header, Buffer.from(body as Uint8Array)), parse, options)
  }
  const agent: GuestAgent = {
    ping: async (options = {}) => call('ping', null, ({ header }) => parseHello(header), options),
    putFile: async (name, file, content, options = {}) => {
      assertMatches('file name', file, functionFileName)
      const executable = options.executable ?? false
      await ask({ op: 'put', function: name, file, executable }, content, () => {}, options)
    },
    start: async (name, { runtime, file }, options = {}) => {
      assertMatches('file name', file, functionFileName)
      const header = { op: 'start', function: name, runtime, file, timeoutMs: inGuest(options) }
      return ask(header, '', (frame) => parseStarted(frame.header), options)
    },
    put: async (name, program, options = {}) => {
      await agent.putFile(name, programFile, program, { ...options, executable: true })
      await agent.start(name, { runtime: 'program', file: programFile }, options)
    },
    invoke: async (name, input = '', options = {}) => {
      const begin = performance.now()
      const header = { op: 'invoke', function: name, timeoutMs: inGuest(options) }
      return ask(
        header,
        input,
        (frame, firstAnswerMs) => ({
          ...parseInvocation(frame.header),
          output: frame.body,
          firstAnswerMs,
          totalMs: performance.now() - begin,
        }),
        options,
      )
    },
    list: async (options = {}) => ask({ op: 'list' }, '', ({ header }) => parseList(header), options),
    stop: async (name, options = {}) => ask({ op: 'stop', function: name }, '', () => {}, options),
    fixUp: async ({ clockMs, hostname, entropy }, options = {}) => {
      if (hostname !== undefined) assertMatches('host name', hostname, agentHostname)
      if (entropy !== undefined && entropy.length > maxEntropyBytes)
        throw new VarveError(
          'INVALID_ARGUMENT',
          `${entropy.length} bytes of entropy exceed ${maxEntropyBytes}`,
        )
      const header = {
        op: 'fix-up',
        ...(clockMs === undefined ? {} : { clockMs: Math.round(clockMs) }),
        ...(hostname === undefined ? {} : { hostname }),
        ...(entropy === undefined ? {} : { entropy: true }),
      }
      return ask(header, entropy ?? '', (frame) => parseFixedUp(frame.header), options)
    },
    memory: async (options = {}) => ask({ op: 'memory' }, '', ({ header }) => parseMemory(header), options),
  }
  return agent
}

function assertMatches(what: string, value: string, pattern: RegExp): void {
  if (!pattern.test(value))
    throw new VarveError('INVALID_ARGUMENT', `${what} ${JSON.stringify(value)} is not ${pattern}`)
}

/** A refusal is an error that has the agent's own words. */
function accepted(frame: AgentFrame): AgentFrame {
  const { ok, code, message } = frame.header
  if (ok === true) return frame
  if (ok !== false || typeof code !== 'string' || typeof message !== 'string')
    throw new VarveError('GUEST_PROTOCOL', `not a reply: ${JSON.stringify(frame.header).slice(0, 200)}`)
  throw new VarveError('GUEST_PROTOCOL', `${message.slice(0, 4096)} (${code.slice(0, 64)})`, {
    details: { agentCode: code.slice(0, 64) },
  })
}
