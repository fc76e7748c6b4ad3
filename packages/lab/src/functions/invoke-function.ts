import { VarveError } from 'varve'
import type { AgentCallOptions, GuestAgent, Invocation } from '../linux/agent-client.js'
import type { StartedFunction } from '../linux/agent-replies.js'
import type { FunctionRuntime, InputName, LabFunction } from './function-types.js'

const sourceFile: Readonly<Record<FunctionRuntime, string>> = {
  python: 'function.py',
  node: 'function.mjs',
  program: 'function',
}

/** Puts a function into a guest and starts it. Errors: those of the agent. */
export async function installFunction(
  agent: GuestAgent,
  { name, runtime, source }: LabFunction,
  options: AgentCallOptions = {},
): Promise<StartedFunction> {
  const file = sourceFile[runtime]
  await agent.putFile(name, file, source, { ...options, executable: runtime === 'program' })
  return await agent.start(name, { runtime, file }, options)
}

export interface CheckedInvocation extends Invocation {
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

/** Invokes a function with one of its inputs and checks the output, after the clock has stopped. */
export async function invokeFunction(
  agent: GuestAgent,
  fn: LabFunction,
  input: InputName,
  options: AgentCallOptions = {},
): Promise<CheckedInvocation> {
  const bytes = functionInput(fn, input)
  const invocation = await agent.invoke(fn.name, bytes, options)
  return { ...invocation, fault: fn.fault(bytes, invocation.output) }
}

/** `invokeFunction` if a wrong output is an error: GUEST_PROTOCOL. */
export async function invokeRight(
  agent: GuestAgent,
  fn: LabFunction,
  input: InputName,
  options: AgentCallOptions = {},
): Promise<Invocation> {
  const { fault, ...invocation } = await invokeFunction(agent, fn, input, options)
  if (fault === null) return invocation
  throw new VarveError('GUEST_PROTOCOL', `${fn.name} answered wrong on input ${input}: ${fault}`, {
    details: { function: fn.name, input },
  })
}
