import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { loadLab } from '../../lab.js'
import { table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve lab ls [--json]',
  options: {},
  help: `
Lists the experiments that come with Varve. GUEST is what runs in their VMs: micro guests run on any
KVM; Linux guests run in the nested lab if they do not boot on this machine's own KVM. If ROUNDS has
two numbers, they are for this machine's own KVM and for the nested lab.

Examples:
  varve lab ls
  varve lab ls --json`,
  run: async (context) => {
    positionals(context, [])
    const { findExperiment, planOf, roundsIn, shippedExperiments } = await loadLab()
    const rows = []
    for (const name of shippedExperiments()) {
      const { experiment } = await findExperiment(name)
      const { question, guest, factors, rounds } = experiment
      rows.push({
        name,
        question,
        guest,
        factors,
        rounds,
        cells: planOf(experiment).cells.length,
        usualRounds: [...new Set([roundsIn('native', experiment), roundsIn('nested', experiment)])].join('/'),
      })
    }
    if (context.json) return context.printJson({ experiments: rows })
    context.print(
      table(
        [
          ['NAME', 'GUEST', 'CELLS', 'ROUNDS', 'QUESTION'],
          ...rows.map((it) => [it.name, it.guest, String(it.cells), it.usualRounds, it.question]),
        ],
        { right: [2, 3] },
      ),
    )
  },
}
