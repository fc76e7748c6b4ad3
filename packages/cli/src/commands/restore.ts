import { engineNames, restoreMachine, VarveError } from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count } from '../text.js'

export const command: Command = {
  usage: 'usage: varve restore REF [--name NAME] [--engine file|paged] [--paused] [--no-dirty-tracking]',
  options: {
    ...storeOption,
    name: { type: 'string' },
    engine: { type: 'string' },
    paused: { type: 'boolean' },
    'no-dirty-tracking': { type: 'boolean' },
  },
  help: `
  REF                    the snapshot
  --name NAME            1-32 of a-z, 0-9, '-'; default a random one
  --engine file          one flat memory file, mapped by Firecracker; flattened once and kept
                         (default)
  --engine paged         a page server brings pages straight from the layers when the guest touches
                         them
  --paused               do not resume the guest
  --no-dirty-tracking    no log of written pages; Diff snapshots then need Firecracker 1.13

The machine lives on after this command; so does its page server. It has its own copy of each disk
that the guest may write to, and holds a lease on the snapshot, so that gc leaves alone what it
needs.

Examples:
  varve restore monday --name web2
  varve restore 9f86d081 --engine paged --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const engine = stringOption(values, 'engine') ?? 'file'
    const known = engineNames.find((name) => name === engine)
    if (known === undefined)
      throw new VarveError('USAGE', `--engine ${engine} is none of ${engineNames.join(', ')}`)
    const name = stringOption(values, 'name')
    const store = await openStore(context)
    const { machine, report } = await context.progress(`restoring ${ref}`, (update) =>
      restoreMachine(store, ref, {
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
      `${id}  ${state}  pid ${pid}  ${report.engine}, ${count(report.layers, 'layer')}  ${phases.join(', ')}`,
    )
  },
}
