import { type CaptureMode, VarveError } from 'varve'
import type { OptionValues } from './command.js'

/** For verbs that capture a machine. */
export const captureModeOptions = { live: { type: 'boolean' }, stop: { type: 'boolean' } } as const

export function captureMode({ live, stop }: OptionValues): CaptureMode {
  if (live === true && stop === true) throw new VarveError('USAGE', 'give --live or --stop, not both')
  if (live === true) return 'live'
  return stop === true ? 'stop' : 'auto'
}
