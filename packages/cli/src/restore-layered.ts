import { join } from 'node:path'
import { restoreLayeredMemory, VarveError } from 'varve'
import { labelsOption, stringOption } from './arguments.js'
import type { CommandContext } from './command.js'
import { firecrackerPlaces } from './firecracker-options.js'
import { count } from './text.js'

/** Restores what `varve flatten --layered` made, without a store. */
export async function restoreLayered(context: CommandContext, directory: string): Promise<void> {
  const { signal, values } = context
  const name = stringOption(values, 'name')
  for (const option of [
    'working-set',
    'prefetch',
    'store',
    'fix-up',
    'same-identity',
    'hostname',
    'address',
    'route',
  ])
    if (values[option] !== undefined)
      throw new VarveError('USAGE', `--${option} is for snapshots in a store, not for --engine layered`)
  const files = { statePath: join(directory, 'state'), memoryPath: join(directory, 'memory') }
  const { machine, mapping } = await context.progress(`restoring ${directory}`, () =>
    restoreLayeredMemory(files, {
      ...firecrackerPlaces(values),
      name,
      labels: labelsOption(values),
      resume: values.paused !== true,
      trackDirtyPages: values['no-dirty-tracking'] !== true,
      signal,
    }),
  )
  const { id, pid, state, vsockPath } = machine
  machine.detach()
  if (context.json)
    return context.printJson({ id, pid, state, vsock: vsockPath, engine: 'layered', directory, mapping })
  context.print(
    `${id}  ${state}  pid ${pid}  layered, ${count(mapping.mappings, 'mapping')} in ${mapping.mapMs.toFixed(1)} ms`,
  )
}
