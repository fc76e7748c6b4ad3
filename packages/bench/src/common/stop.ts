/** Aborted by the first Ctrl-C or SIGTERM: the program then ends what runs, in order. */
export function stopOnSignals(): AbortSignal {
  const stopper = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopper.abort())
  return stopper.signal
}
