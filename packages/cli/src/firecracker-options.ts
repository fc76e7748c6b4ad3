import { type BinaryPlaces, VarveError } from 'varve'
import { stringOption } from './arguments.js'
import type { OptionTable, OptionValues } from './command.js'

/** What every verb that looks for Firecracker takes. */
export const firecrackerOptions = {
  firecracker: { type: 'string' },
  'firecracker-dir': { type: 'string' },
} as const satisfies OptionTable

export const firecrackerHelp = `  --firecracker FILE     the Firecracker to run, before $FIRECRACKER
  --firecracker-dir DIR  a folder of Firecrackers to choose from, before $VARVE_FIRECRACKER_DIR and
                         $FIRECRACKER: a boot takes the newest, a restore by the snapshot`

export function firecrackerPlaces(values: OptionValues): BinaryPlaces {
  const firecracker = stringOption(values, 'firecracker')
  const firecrackerDirectory = stringOption(values, 'firecracker-dir')
  if (firecracker !== undefined && firecrackerDirectory !== undefined)
    throw new VarveError('USAGE', '--firecracker names the binary, so that --firecracker-dir has no use', {
      remedy: 'give one of them',
    })
  for (const [option, value] of Object.entries({ firecracker, 'firecracker-dir': firecrackerDirectory }))
    if (value === '') throw new VarveError('USAGE', `--${option} is empty`)
  return { firecracker, firecrackerDirectory }
}
