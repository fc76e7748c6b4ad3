import type {
  CommandOptions,
  FunctionOutput,
  GuestAgent,
  InvokeOptions,
  StartedGuestFunction,
} from '@varve/guest'
import { VarveError } from 'varve'
import { guestFile } from '../guest-file.js'
import type { FunctionRuntime, InputName, LabFunction } from './function-types.js'

/** What keeps a function of each runtime in a process; it is put into the guest with the function. */
const runners = {
  python: { program: 'python3', file: 'python.py', suffix: 'py' },
  node: { program: 'node', file: 'node.mjs', suffix: 'mjs' },
} as const satisfies Readonly<Record<FunctionRuntime, unknown>>

/** Where functions are put: every guest with our agent has it, in memory. */
const defaultFolder = '/run'

/** What installing a function takes. */
export interface InstallOptions extends Pick<CommandOptions, 'env' | 'timeoutMs' | 'signal' | 'connectMs'> {
  /** A folder of the guest for the function's files. Default: `/run`. */
  readonly folder?: string
}

/**
 * Puts a function into a guest and starts it: `python3` or `node` of the guest loads it, and stays. One of
 * that name is replaced. Errors: those of the agent; GUEST_REFUSED has what the function said when it was
 * loaded.
 */
export async function installFunction(
  agent: GuestAgent,
  { name, runtime, source }: Pick<LabFunction, 'name' | 'runtime' | 'source'>,
  options: InstallOptions = {},
): Promise<StartedGuestFunction> {
  const { folder = defaultFolder, ...start } = options
  const { signal, connectMs } = start
  const { program, file, suffix } = runners[runtime]
  const runner = `${folder}/varve-runner-${file}`
  const path = `${folder}/varve-function-${name}.${suffix}`
  const limit = { signal, ...(connectMs === undefined ? {} : { connectMs }) }
  await agent.put(runner, guestFile(`runners/${file}`), limit)
  await agent.put(path, source, limit)
  return await agent.functions.start(name, [program, runner, path], start)
}

/** What came of an invocation, and whether it was right. */
export interface CheckedInvocation extends FunctionOutput {
  /** What is wrong with the output, or null. */
  readonly fault: string | null
}

const inputs = new WeakMap<LabFunction, Map<InputName, Buffer>>()

/** The bytes of an input, made once. */
export function functionInput(fn: LabFunction, name: InputName): Buffer {
  const known = inputs.get(fn) ?? new Map<InputName, Buffer>()
  inputs.set(fn, known)
  const input = known.get(name) ?? fn.makeInput(fn.inputs[name])
  known.set(name, input)
  return input
}

/** Invokes a function with one of its inputs and checks the output. */
export async function invokeFunction(
  agent: GuestAgent,
  fn: LabFunction,
  input: InputName,
  options: InvokeOptions = {},
): Promise<CheckedInvocation> {
  const bytes = functionInput(fn, input)
  const invocation = await agent.functions.invoke(fn.name, bytes, options)
  return { ...invocation, fault: fn.fault(bytes, invocation.output) }
}

/** `invokeFunction` if a wrong output is an error: GUEST_PROTOCOL. */
export async function invokeRight(
  agent: GuestAgent,
  fn: LabFunction,
  input: InputName,
  options: InvokeOptions = {},
): Promise<FunctionOutput> {
  const { fault, ...invocation } = await invokeFunction(agent, fn, input, options)
  if (fault === null) return invocation
  throw new VarveError('GUEST_PROTOCOL', `${fn.name} answered wrong on input ${input}: ${fault}`, {
    details: { function: fn.name, input },
  })
}
