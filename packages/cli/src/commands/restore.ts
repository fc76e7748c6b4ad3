import { engineNames, restoreMachine, VarveError } from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'

export const command: Command = {
  usage:
    'usage: varve restore DIRECTORY [--name NAME] [--engine file|paged] [--paused] [--no-dirty-tracking]',
  options: {
    name: { type: 'string' },
    engine: { type: 'string' },
    paused: { type: 'boolean' },
    'no-dirty-tracking': { type: 'boolean' },
  },
  help: `
  DIRECTORY              a snapshot directory
  --name NAME            1-32 of a-z, 0-9, '-'; default a random one
  --engine file          one flat memory file, mapped by Firecracker; flattened once and kept (default)
  --engine paged         a page server brings pages straight from the layers when the guest touches them
  --paused               do not resume the guest
  --no-dirty-tracking    no log of written pages; Diff snapshots then need Firecracker 1.13

The machine lives on after this command; so does its page server.

Examples:
  varve restore snaps/one --name web2
  varve restore snaps/one --engine paged --json`,
  run: async (context) => {
    const [directory] = positionals(context, ['DIRECTORY'])
    const { signal, values } = context
    const engine = stringOption(values, 'engine') ?? 'file'
    const known = engineNames.find((name) => name === engine)
    if (known === undefined)
      throw new VarveError('USAGE', `--engine ${engine} is none of ${engineNames.join(', ')}`)
    const name = stringOption(values, 'name')
    const { machine, report } = await context.progress(`restoring ${directory}`, (update) =>
      restoreMachine(directory, {
        engine: known,
        ...(name === undefined ? {} : { name }),
        resume: values.paused !== true,
        trackDirtyPages: values['no-dirty-tracking'] !== true,
        signal,
        onProgress: update,
      }),
    )
    const { id, pid, state, vsockPath } = machine
    machine.detach()
    if (context.json) return context.printJson({ id, pid, state, vsock: vsockPath, ...report })
    const phases = Object.entries(report.phasesMs).map(([phase, ms]) => `${phase} ${ms.toFixed(1)} ms`)
    context.print(
      `${id}  ${state}  pid ${pid}  ${report.engine}, ${report.layers} layers  ${phases.join(', ')}`,
    )
  },
}
