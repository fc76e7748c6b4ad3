import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import type { CommandOptions, CommandResult, GuestAgent } from '@varve/guest'

/** Standard streams; `process` has them. */
export interface CommandStreams {
  readonly stdin: Readable & {
    readonly isTTY?: boolean | undefined
    setRawMode?(raw: boolean): unknown
  }
  readonly stdout: Writable & {
    readonly rows?: number | undefined
    readonly columns?: number | undefined
  }
  readonly stderr: Writable
}

/** As a shell says that a signal ended a command. */
const signalStatus = 128
/** As timeout(1). */
const timedOutStatus = 124

/**
 * Runs a command in a guest on these streams, on a terminal if `tty`. Gives its exit status, as a shell would
 * say it.
 */
export async function runInGuest(
  agent: GuestAgent,
  argv: readonly string[],
  { stdin, stdout, stderr }: CommandStreams,
  { tty, ...options }: Omit<CommandOptions, 'tty'> & { readonly tty: boolean },
): Promise<number> {
  const size = () => ({ rows: stdout.rows ?? 24, columns: stdout.columns ?? 80 })
  await using command = await agent.start(argv, { ...options, ...(tty ? { tty: size() } : {}) })
  const onResize = () => command.resize(size().rows, size().columns)
  if (tty) {
    stdin.setRawMode?.(true)
    stdout.on('resize', onResize)
  }
  try {
    // It ends with the command, not with its input.
    sendInput(stdin, command.stdin).catch(() => {})
    const [result] = await Promise.all([
      command.result,
      copy(command.stdout, stdout),
      copy(command.stderr, stderr),
    ])
    return exitStatus(result)
  } finally {
    stdout.off('resize', onResize)
    if (tty) stdin.setRawMode?.(false)
    // Else it would keep this process waiting for input.
    stdin.destroy()
  }
}

async function sendInput(
  stdin: Readable,
  to: { write(data: Uint8Array): Promise<void>; end(): Promise<void> },
): Promise<void> {
  for await (const chunk of stdin) await to.write(chunk as Buffer)
  await to.end()
}

async function copy(from: AsyncIterable<Buffer>, to: Writable): Promise<void> {
  for await (const chunk of from)
    await new Promise<void>((resolve, reject) =>
      to.write(chunk, (error) => (error ? reject(error) : resolve())),
    )
}

export function exitStatus({ exitCode, signal, timedOut }: CommandResult): number {
  if (timedOut) return timedOutStatus
  if (exitCode !== null) return exitCode
  return signalStatus + (constants.signals[signal as NodeJS.Signals] ?? 0)
}
