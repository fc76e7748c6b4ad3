import { type GuestAgentPlace, VarveError } from 'varve'
import { AgentCall } from './agent-call.js'
import { tag } from './bounds.js'
import { type CommandOptions, type GuestCommand, startCommand } from './command.js'
import type { AgentAddress } from './dial.js'
import {
  type FileOptions,
  type GuestFile,
  openFile,
  type PutOptions,
  putFile,
  readGuestFile,
} from './files.js'
import { type FixedUp, type FixUp, type FixUpOptions, fixUpGuest } from './fix-up.js'
import {
  type FunctionOutput,
  type InvokeOptions,
  invokeFunction,
  type ListedFunction,
  listFunctions,
  type StartedGuestFunction,
  startFunction,
  stopFunction,
} from './functions.js'
import { type HookName, type HookResult, runHook } from './hooks.js'
import { type MemoryReport, memoryReport } from './memory.js'
import { type PageOwnersOptions, pageOwners } from './page-owners.js'
import { plain } from './refusal.js'
import { type ExecOptions, type ExecResult, runCommand } from './run-command.js'

/** What the agent says of itself. */
export interface AgentAnswer {
  /** The version of the agent. */
  readonly agent: string
  /** 1 if it is the guest's init. */
  readonly pid: number
  /** Of the guest's monotonic clock. */
  readonly uptimeMs: number
}

/** For calls that are short. */
export interface ShortCallOptions {
  readonly signal?: AbortSignal | undefined
  /** For the whole call, connecting included. Default: 30 s. */
  readonly timeoutMs?: number
}

/**
 * The agent of one guest. Each call has a connection of its own: calls run at the same time, and need no
 * connection to be made again after a restore. Errors of all calls: GUEST_REFUSED (the agent says why it
 * could not), GUEST_LOST (the connection ended; a snapshot does that), GUEST_PROTOCOL, TIMEOUT,
 * INTERRUPTED.
 */
export interface GuestAgent {
  /** Waits until the agent answers: right after a boot this waits for the guest. */
  ping(options?: ShortCallOptions): Promise<AgentAnswer>
  /** Runs a command to its end and collects its output. */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>
  /** Starts a command, with streams. */
  start(argv: readonly string[], options?: CommandOptions): Promise<GuestCommand>
  /** Writes a file: whole, or not at all. Gives its size. */
  put(
    path: string,
    content: Uint8Array | string | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<number>
  /** Opens a file for reading. */
  get(path: string, options?: FileOptions): Promise<GuestFile>
  /** Reads a whole file, of at most `maxBytes` (16 MiB). */
  readFile(path: string, options?: FileOptions & { readonly maxBytes?: number }): Promise<Buffer>
  /** Fixes a clone up. */
  fixUp(what?: FixUp, options?: FixUpOptions): Promise<FixedUp>
  /** Runs a hook: the guest's own programs in /etc/varve/hooks.d. */
  hook(
    name: HookName,
    options?: {
      readonly timeoutMs?: number
      readonly connectMs?: number
      readonly signal?: AbortSignal | undefined
    },
  ): Promise<HookResult>
  /** The guest's own view of its memory. */
  memory(options?: ShortCallOptions): Promise<MemoryReport>
  /** Which frames the processes and files of the guest have, as text: docs/formats/page-owners.md. */
  pageOwners(options?: PageOwnersOptions): AsyncIterable<Uint8Array>
  readonly functions: GuestFunctions
}

/** Processes in the guest that stay, and answer one call after another. */
export interface GuestFunctions {
  /** The process reads requests from descriptor 3 and answers on 4 (docs/formats/guest-agent.md). */
  start(name: string, argv: readonly string[], options?: CommandOptions): Promise<StartedGuestFunction>
  /** Is sent once: what became of it is not known if the connection is lost. */
  invoke(name: string, input?: Uint8Array | string, options?: InvokeOptions): Promise<FunctionOutput>
  stop(name: string, options?: InvokeOptions): Promise<void>
  list(options?: InvokeOptions): Promise<ListedFunction[]>
}

/** Of a machine, what leads to its guest's agent; without `guestAgent` it listens on port 1024. */
export interface AgentMachine {
  readonly vsockPath: string | null
  readonly guestAgent?: GuestAgentPlace | null
}

/**
 * The agent behind a machine's vsock device. `where` is a machine, the path of its vsock socket, or an
 * address. Connects when something is asked. Errors: INVALID_ARGUMENT if the machine has no vsock device.
 */
export function guestAgent(where: AgentMachine | string | AgentAddress): GuestAgent {
  const address = addressOf(where)
  return {
    ping: (options) => ping(address, options),
    exec: (argv, options) => runCommand(address, argv, options),
    start: (argv, options) => startCommand(address, argv, options),
    put: (path, content, options) => putFile(address, path, content, options),
    get: (path, options) => openFile(address, path, options),
    readFile: (path, options) => readGuestFile(address, path, options),
    fixUp: (what, options) => fixUpGuest(address, what, options),
    hook: (name, options) => runHook(address, name, options),
    memory: (options) => memoryReport(address, options),
    pageOwners: (options) => pageOwners(address, options),
    functions: {
      start: (name, argv, options) => startFunction(address, name, argv, options),
      invoke: (name, input, options) => invokeFunction(address, name, input, options),
      stop: (name, options) => stopFunction(address, name, options),
      list: (options) => listFunctions(address, options),
    },
  }
}

function addressOf(where: AgentMachine | string | AgentAddress): AgentAddress {
  if (typeof where === 'string') return { path: where }
  if ('path' in where) return where
  if (where.vsockPath !== null) return { path: where.vsockPath, ...where.guestAgent }
  throw new VarveError('INVALID_ARGUMENT', 'the machine has no vsock device', {
    remedy: 'boot it with vsockCid',
  })
}

async function ping(address: AgentAddress, options: ShortCallOptions = {}): Promise<AgentAnswer> {
  const { timeoutMs = 30_000, signal } = options
  using call = await AgentCall.open(address, 'ping', [], { signal, timeoutMs, connectMs: timeoutMs })
  const answer = await call.result
  return {
    agent: plain(answer.text(tag.agent) ?? '', 64),
    pid: answer.required(tag.pid, 'pid'),
    uptimeMs: answer.required(tag.uptime, 'uptime'),
  }
}
