import { connectMachine, type TakenSnapshot, takeSnapshot, VarveError } from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { humanBytes } from '../output.js'

export const command: Command = {
  usage: 'usage: varve snapshot NAME DIRECTORY [--parent DIRECTORY] [--keep-paused]',
  options: { parent: { type: 'string' }, 'keep-paused': { type: 'boolean' } },
  help: `
  NAME                 a running or paused machine
  DIRECTORY            the snapshot to make; must not exist, appears whole or not at all
  --parent DIRECTORY   the snapshot that this one builds on: a Diff (pages written since) instead of a Full.
                       It must be the last one taken of this machine, or the one it was restored from
  --keep-paused        leave a running machine paused afterwards

Examples:
  varve snapshot web snaps/base
  varve snapshot web snaps/one --parent snaps/base`,
  run: async (context) => {
    const [name, directory] = positionals(context, ['NAME', 'DIRECTORY'])
    const { signal, values } = context
    const parent = stringOption(values, 'parent')
    const machine = await connectMachine(name, { signal })
    if (machine.state === 'launched') throw new VarveError('MACHINE_STATE', `${name} has not booted`)
    const wasRunning = machine.state === 'running'
    const paused = machine.state === 'running' ? await machine.pause({ signal }) : machine
    const captured = await context.progress(`snapshot of ${name}`, async (update) => {
      let taken: TakenSnapshot
      try {
        taken = await takeSnapshot(paused, { directory, ...(parent === undefined ? {} : { parent }), signal })
      } finally {
        // Whatever became of the snapshot, a machine that ran goes on; indexing needs no paused guest.
        if (wasRunning && values['keep-paused'] !== true) await paused.resume()
      }
      return taken.seal({ signal, onProgress: update })
    })
    const { manifest, layer, createMs } = captured
    const summary = {
      directory: captured.directory,
      id: manifest.id,
      kind: manifest.kind,
      memoryPages: manifest.memoryPages,
      dataPages: layer.data.pages,
      zeroPages: layer.zero.pages,
      createMs,
    }
    if (context.json) return context.printJson(summary)
    context.print(
      `${directory}  ${summary.kind}  ${humanBytes(summary.dataPages * 4096)} of data in ${humanBytes(summary.memoryPages * 4096)}  written in ${createMs.toFixed(0)} ms`,
    )
  },
}
