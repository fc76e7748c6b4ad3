import { VarveError } from 'varve'
import { type CommandOptions, type CommandResult, startCommand } from './command.js'
import type { AgentAddress } from './dial.js'

/** What `exec` takes besides a command's own options. */
export interface ExecOptions extends CommandOptions {
  /** Standard input; default: empty. */
  readonly input?: Uint8Array | string | AsyncIterable<Uint8Array | string>
  /** The most that is kept of standard output, and of standard error; more is an error. Default: 16 MiB. */
  readonly maxOutputBytes?: number
}

/** How a command ended, with what it wrote. */
export interface ExecResult extends CommandResult {
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/**
 * Runs a command to its end and collects its output. A status other than 0 is no error. Errors:
 * GUEST_REFUSED, GUEST_LOST, GUEST_PROTOCOL (also for more output than `maxOutputBytes`), TIMEOUT,
 * INTERRUPTED.
 */
export async function runCommand(
  address: AgentAddress,
  argv: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { input, maxOutputBytes = 16 * 1024 * 1024, ...rest } = options
  await using command = await startCommand(address, argv, rest)
  const sent = sendInput(command.stdin, input)
  const [stdout, stderr, result] = await Promise.all([
    collect(command.stdout, maxOutputBytes, 'standard output'),
    collect(command.stderr, maxOutputBytes, 'standard error'),
    command.result,
    sent,
  ])
  return { ...result, stdout, stderr }
}

async function sendInput(
  stdin: { write(data: Uint8Array | string): Promise<void>; end(): Promise<void> },
  input: ExecOptions['input'],
): Promise<void> {
  if (typeof input === 'string' || input instanceof Uint8Array) await stdin.write(input)
  else if (input !== undefined) for await (const chunk of input) await stdin.write(chunk)
  await stdin.end()
}

/**
 * Errors: GUEST_PROTOCOL if there is more than `most`. Chunks are copied together: each may be a byte of a
 * larger buffer, which must not be kept for it.
 */
export async function collect(stream: AsyncIterable<Buffer>, most: number, what: string): Promise<Buffer> {
  let bytes = Buffer.alloc(0)
  let length = 0
  for await (const chunk of stream) {
    if (length + chunk.length > most)
      throw new VarveError('GUEST_PROTOCOL', `${what} has more than ${most} bytes`)
    if (length + chunk.length > bytes.length) {
      const larger = Buffer.alloc(Math.min(most, Math.max(2 * bytes.length, length + chunk.length)))
      bytes.copy(larger, 0, 0, length)
      bytes = larger
    }
    length += chunk.copy(bytes, length)
  }
  return bytes.subarray(0, length)
}
