import { say } from './results.js'

/** Aborted by the first Ctrl-C or SIGTERM: the program then ends what runs, in order. */
export function stopOnSignals(): AbortSignal {
  const stopper = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopper.abort())
  return stopper.signal
}

/** The exit status of a program: 130 if `signal` ended its work. Any other error is thrown. */
export async function statusOf(signal: AbortSignal, work: () => Promise<void>): Promise<number> {
  try {
    await work()
    return 0
  } catch (error) {
    if (!signal.aborted) throw error
    say('interrupted')
    return 130
  }
}
