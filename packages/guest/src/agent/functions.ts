import { VarveError } from 'varve'
import { AgentCall } from './agent-call.js'
import { functionName, maxFunctionBytes, tag } from './bounds.js'
import { type CommandOptions, commandFields, timeoutField } from './command.js'
import type { AgentAddress } from './dial.js'
import { broken, type Field, numberIn } from './fields.js'
import { plain } from './refusal.js'
import { collect } from './run-command.js'

/** What a call of a function takes. */
export interface InvokeOptions {
  /** The guest kills the function's process after this long. Default: 5 minutes. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
  readonly connectMs?: number
}

export interface StartedGuestFunction {
  readonly pid: number
  /** From the request until the function was loaded, by the guest's clock. */
  readonly startMs: number
}

export interface FunctionOutput {
  readonly output: Buffer
  /** From the moment when the function was free, until its answer was sent, by the guest's clock. */
  readonly guestMs: number
  /** The function alone, as its process says. */
  readonly handlerMs: number
}

export interface ListedFunction {
  readonly name: string
  /** 0 if its process has ended. */
  readonly pid: number
  readonly calls: number
  readonly running: boolean
}

const graceMs = 10_000

function nameField(name: string): Field {
  if (!functionName.test(name))
    throw new VarveError('INVALID_ARGUMENT', `${JSON.stringify(name)} is not the name of a function`)
  return [tag.name, name]
}

/**
 * Starts a process that answers calls on its descriptors 3 and 4. A function of that name is stopped first.
 */
export async function startFunction(
  address: AgentAddress,
  name: string,
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<StartedGuestFunction> {
  const { timeoutMs = 120_000, signal, connectMs } = options
  const fields = [nameField(name), ...commandFields(argv, { ...options, timeoutMs })]
  using call = await AgentCall.open(address, 'start', fields, {
    what: `start of ${name}`,
    signal,
    connectMs,
    timeoutMs: timeoutMs + graceMs,
  })
  const result = await call.result
  return {
    pid: result.required(tag.pid, 'pid'),
    startMs: result.required(tag.elapsed, 'elapsed time') / 1000,
  }
}

/** Calls a function once: what became of it is not known if the connection is lost. */
export async function invokeFunction(
  address: AgentAddress,
  name: string,
  input: Uint8Array | string = '',
  options: InvokeOptions = {},
): Promise<FunctionOutput> {
  const { timeoutMs = 300_000, signal, connectMs } = options
  const bytes = typeof input === 'string' ? Buffer.from(input) : input
  if (bytes.length > maxFunctionBytes)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `an input of ${bytes.length} bytes; a function takes ${maxFunctionBytes}`,
    )
  const fields = [nameField(name), [tag.size, bytes.length] as const, ...timeoutField(timeoutMs)]
  const what = `invoke of ${name}`
  using call = await AgentCall.open(address, 'invoke', fields, {
    what,
    signal,
    connectMs,
    timeoutMs: timeoutMs + graceMs,
    streams: [1, 2],
  })
  // If the function's process ends, writing fails as the call does.
  const sent = call.input.write(bytes).catch(() => {})
  const [output, words, result] = await Promise.all([
    collect(call.output, maxFunctionBytes, what),
    collect(call.errorOutput, maxFunctionBytes, what),
    call.result,
    sent,
  ])
  const status = result.required(tag.status, 'status')
  if (status !== 0)
    throw new VarveError('GUEST_REFUSED', `${what}: ${plain(words.toString('utf8', 0, 2048), 2048)}`, {
      details: { agentCode: 'FUNCTION_FAILED', status },
    })
  return {
    output,
    guestMs: result.required(tag.elapsed, 'elapsed time') / 1000,
    handlerMs: result.required(tag.handler, 'time in the function') / 1000,
  }
}

export async function stopFunction(
  address: AgentAddress,
  name: string,
  options: InvokeOptions = {},
): Promise<void> {
  const { timeoutMs = 30_000 } = options
  using call = await AgentCall.open(address, 'stop', [nameField(name)], { ...options, timeoutMs })
  await call.result
}

export async function listFunctions(
  address: AgentAddress,
  options: InvokeOptions = {},
): Promise<ListedFunction[]> {
  const { timeoutMs = 30_000 } = options
  using call = await AgentCall.open(address, 'list', [], { ...options, timeoutMs })
  return (await call.result).all(tag.function).map((value) => {
    const name = value.toString('latin1', 17)
    if (!functionName.test(name)) throw broken('a function whose name is none')
    return { name, pid: numberIn(value), calls: numberIn(value, 8), running: value[16] !== 0 }
  })
}
