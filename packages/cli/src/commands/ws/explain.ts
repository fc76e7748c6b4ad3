import { connectMachine, VarveError } from 'varve'
import { stringOption } from '../../arguments.js'
import type { Command, CommandContext } from '../../command.js'
import { firecrackerHelp, firecrackerOptions, firecrackerPlaces } from '../../firecracker-options.js'
import { loadGuest } from '../../guest.js'
import { renderExplanation } from '../../render-explanation.js'
import { openStore, storeOption } from '../../store.js'
import { loadWorkingSet, placeHelp } from '../../working-set-place.js'
import { writeNew } from '../../write-new.js'

export const command: Command = {
  usage: `usage: varve ws explain SET [options]
       varve ws explain [SET] --machine NAME [options]`,
  options: {
    ...storeOption,
    ...firecrackerOptions,
    machine: { type: 'string' },
    svg: { type: 'string' },
    'no-files': { type: 'boolean' },
    all: { type: 'boolean' },
  },
  help: `
  --machine NAME         ask this running machine in its present state, not a clone of the snapshot.
                         It must have been restored from SET's snapshot. Without SET: explain the
                         pages that it has touched since its restore (only with engine file). The
                         machine keeps running
  --svg FILE             also write a picture in the form of a flame graph. FILE must not exist
  --no-files             do not visit the files of the guest's root file system: cached pages of a
                         file that no process maps are then listed without its name
  --all                  list all owners, not only the 40 largest
${firecrackerHelp}

${placeHelp}
Shows who in the guest owns the pages of a set: processes (anonymous memory, heap, stack, private
copies), files and libraries by name with the processes that map them, the kernel (text, slab, page
tables), free memory, and the share of pages that has no known owner. Without --machine, a clone is
restored, asked and ended. It shows the owners at the time of the snapshot: pages that the workload
allocated later count as free. The guest needs the agent of @varve/guest, which itself touches pages
when it answers.

Examples:
  varve ws explain monday:hello --svg hello.svg
  varve ws explain monday:hello --machine web
  varve ws explain --machine web --json`,
  run: async (context) => {
    const { values, signal } = context
    const [text, ...more] = context.positionals
    const name = stringOption(values, 'machine')
    const svg = stringOption(values, 'svg')
    if (more.length > 0 || (text === undefined && name === undefined))
      throw new VarveError('USAGE', 'expected SET, or --machine NAME')
    const { explainMachine, explainWorkingSet, flameSvg } = await loadGuest()
    const store = await openStore(context)
    const set = text === undefined ? undefined : await loadWorkingSet(store, text, context)
    const options = { files: values['no-files'] !== true, signal }
    const explanation = await context.progress(`asking ${name ?? `a clone of ${text}`}`, async () => {
      if (name !== undefined)
        return explainMachine(await runningMachine(name, context), store, { ...options, workingSet: set })
      if (set === undefined) throw new VarveError('USAGE', 'expected SET')
      return explainWorkingSet(store, set, { ...options, ...firecrackerPlaces(values) })
    })
    if (svg !== undefined) await writeNew(svg, flameSvg(explanation, text ?? name ?? ''))
    if (context.json) return context.printJson(explanation)
    context.print(renderExplanation(explanation, values.all === true))
  },
}

async function runningMachine(name: string, { signal }: Pick<CommandContext, 'signal'>) {
  const machine = await connectMachine(name, { signal })
  if (machine.state === 'running') return machine
  throw new VarveError('MACHINE_STATE', `${name} is ${machine.state}: its guest cannot answer`, {
    remedy: `varve resume ${name}`,
  })
}
