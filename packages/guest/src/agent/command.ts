import { constants } from 'node:os'
import { VarveError } from 'varve'
import { AgentCall } from './agent-call.js'
import { maxWords, tag } from './bounds.js'
import type { AgentAddress } from './dial.js'
import { type AnswerFields, broken, type Field } from './fields.js'

/** A name of a signal (`SIGTERM`) or its number. */
export type SignalName = NodeJS.Signals | number

/** What a command in the guest is run with. */
export interface CommandOptions {
  /** Variables that are set besides PATH, HOME, USER, LOGNAME and SHELL, which have defaults. */
  readonly env?: Readonly<Record<string, string>>
  /** The folder that it starts in. Default: what the guest's image says, else `/`. */
  readonly cwd?: string
  /** `NAME`, `UID`, `NAME:GROUP` or `UID:GID`. Default: what the guest's image says, else root. */
  readonly user?: string
  /** Runs it on a terminal of this size. Its output and errors are one stream then. */
  readonly tty?: { readonly rows: number; readonly columns: number }
  /** The guest kills it and its process group after this long. Default: no limit. */
  readonly timeoutMs?: number
  /** Ends the connection, and so the command. */
  readonly signal?: AbortSignal | undefined
  /** How long to wait for the agent, which may still be booting. Default: 30 s. */
  readonly connectMs?: number
}

/** How a command ended. */
export interface CommandResult {
  /** Null if a signal ended it. */
  readonly exitCode: number | null
  readonly signal: string | null
  /** It was killed because `timeoutMs` had passed. */
  readonly timedOut: boolean
  /** By the guest's clock, from the request to the end. */
  readonly elapsedMs: number
}

/** A command that runs in the guest. Disposing of it kills it. */
export interface GuestCommand extends AsyncDisposable {
  /** In the guest. */
  readonly pid: number
  readonly stdin: CommandInput
  /** Read it, or the command waits once 256 KiB are there. */
  readonly stdout: AsyncIterable<Buffer>
  readonly stderr: AsyncIterable<Buffer>
  /** To its whole process group. */
  kill(signal: SignalName): void
  /** Of its terminal. */
  resize(rows: number, columns: number): void
  /** Resolves when it has ended and all of its output has come. */
  readonly result: Promise<CommandResult>
}

/** Standard input of a command. */
export interface CommandInput {
  /** Resolves when the guest has room for all of it, or if the command reads no more. */
  write(data: Uint8Array | string): Promise<void>
  end(): Promise<void>
}

/** After the guest's own limit the host waits so much longer for what the guest has to say. */
const graceMs = 10_000

/** Starts a command. Errors: GUEST_REFUSED if the guest cannot run it, and those of `AgentCall`. */
export async function startCommand(
  address: AgentAddress,
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<GuestCommand> {
  const { tty, timeoutMs, signal, connectMs } = options
  const call = await AgentCall.open(address, 'exec', commandFields(argv, options), {
    what: `exec of ${argv[0]}`,
    signal,
    connectMs,
    timeoutMs: timeoutMs === undefined ? undefined : timeoutMs + graceMs,
    streams: tty === undefined ? [1, 2] : [1],
  })
  try {
    const pid = (await call.accepted).required(tag.pid, 'pid')
    return commandOf(call, pid)
  } catch (error) {
    call[Symbol.dispose]()
    throw error
  }
}

function commandOf(call: AgentCall, pid: number): GuestCommand {
  const result = call.result.then(resultOf)
  // A caller that only reads the streams learns of the same error there.
  result.catch(() => {})
  return {
    pid,
    stdin: { write: (data) => call.input.write(data), end: () => call.input.end() },
    stdout: call.output,
    stderr: call.errorOutput,
    kill: (signal) => call.signal(signalNumber(signal)),
    resize: (rows, columns) => call.resize(rows, columns),
    result,
    [Symbol.asyncDispose]: async () => call[Symbol.dispose](),
  }
}

export function commandFields(
  argv: readonly string[],
  { env = {}, cwd, user, tty, timeoutMs }: CommandOptions,
): Field[] {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const wrong =
    argv.length === 0 || argv[0] === ''
      ? 'a command needs a program'
      : argv.length > maxWords || variables.length > maxWords
        ? `a command has at most ${maxWords} arguments, and as many variables`
        : [...argv, ...variables, cwd ?? '', user ?? ''].some((it) => it.includes('\0'))
          ? 'a command has a zero byte in its words'
          : // To the agent an empty one is root, which an unset variable of a script must not mean.
            user === ''
            ? 'the user of a command is empty'
            : Object.keys(env).some((it) => it === '' || it.includes('='))
              ? 'the name of a variable is empty or has a ='
              : undefined
  if (wrong !== undefined) throw new VarveError('INVALID_ARGUMENT', wrong)
  return [
    ...argv.map((it): Field => [tag.arg, it]),
    ...variables.map((it): Field => [tag.env, it]),
    ...(cwd === undefined ? [] : [[tag.cwd, cwd] as const]),
    ...(user === undefined ? [] : [[tag.user, user] as const]),
    ...(tty === undefined ? [] : [[tag.tty, sizeBytes(tty)] as const]),
    ...timeoutField(timeoutMs),
  ]
}

/** Whole milliseconds, 1 to a day. */
export function timeoutField(timeoutMs: number | undefined): Field[] {
  if (timeoutMs === undefined) return []
  const rounded = Math.ceil(timeoutMs)
  if (!(rounded >= 1 && rounded <= 86_400_000))
    throw new VarveError('INVALID_ARGUMENT', `timeoutMs is ${timeoutMs}; it must be from 1 to 86,400,000`)
  return [[tag.timeout, rounded]]
}

function sizeBytes({ rows, columns }: { rows: number; columns: number }): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt16LE(rows, 0)
  bytes.writeUInt16LE(columns, 2)
  return bytes
}

function signalNumber(signal: SignalName): number {
  const number = typeof signal === 'number' ? signal : constants.signals[signal]
  if (Number.isInteger(number) && number >= 1 && number <= 64) return number
  throw new VarveError('INVALID_ARGUMENT', `there is no signal ${signal}`)
}

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number as number, name]),
)

function resultOf(fields: AnswerFields): CommandResult {
  const exitCode = fields.number(tag.exit) ?? null
  const signal = fields.number(tag.signal)
  if (exitCode === null && signal === undefined) throw broken('neither an exit status nor a signal')
  if ((exitCode ?? 0) > 255 || (signal ?? 0) > 127) throw broken('an exit status or signal that there is not')
  return {
    exitCode,
    signal: signal === undefined ? null : (signalNames.get(signal) ?? `SIG${signal}`),
    timedOut: fields.has(tag.timedOut),
    elapsedMs: fields.required(tag.elapsed, 'elapsed time') / 1000,
  }
}
