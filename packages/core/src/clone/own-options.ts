import type { RestoreOptions } from '../restore/restore-options.js'

/** What can differ between clones; they are numbered from 1. */
export type EachClone = (
  number: number,
) => Partial<Pick<RestoreOptions, 'name' | 'networkOverrides' | 'vsockPath'>>

/** The options of one clone. */
export function ownOptions<Options extends Pick<RestoreOptions, 'name' | 'signal' | 'fixUp'>>(
  number: number,
  options: Options,
  each: EachClone | undefined,
): Options {
  const { name, signal, fixUp } = options
  return {
    ...options,
    name: name && `${name}-${number}`,
    // One of its own: Node warns if many listen to one.
    signal: signal && AbortSignal.any([signal]),
    fixUp: fixUp && ((machine, call) => fixUp(machine, { ...call, clone: number })),
    ...each?.(number),
  }
}
