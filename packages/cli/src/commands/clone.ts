import { cloneMachines, memoryUse, VarveError } from 'varve'
import { integerOption, positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { pageLines } from '../render-restore.js'
import { chosenWorkingSet, restoreChoices, restoreHelp, restoreOptions } from '../restore-options.js'
import { openStore, storeOption } from '../store.js'
import { humanBytes, table } from '../text.js'

export const command: Command = {
  usage: 'usage: varve clone REF [-n N] [--name PREFIX] [--parallel N] [options]',
  options: {
    ...storeOption,
    ...restoreOptions,
    count: { type: 'string', short: 'n' },
    name: { type: 'string' },
    parallel: { type: 'string' },
  },
  help: `
  REF                    the snapshot
  -n, --count N          how many machines, default 2
  --name PREFIX          they are PREFIX-1, PREFIX-2, …; default random names
  --parallel N           how many restores run at a time, default 4
${restoreHelp}

Each machine has its own disks, vsock socket and console, and lives on after this command. PRIVATE
is memory that only this machine uses. SHARED is memory that it shares with others: pages of files
in the page cache. If one machine cannot be restored, all of them are removed.

Examples:
  varve clone monday -n 8 --name web
  varve clone monday -n 16 --working-set hello --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const count = integerOption(values, 'count') ?? 2
    const parallel = integerOption(values, 'parallel')
    if (count < 1 || parallel === 0) throw new VarveError('USAGE', '-n and --parallel are at least 1')
    const name = stringOption(values, 'name')
    const choices = restoreChoices(context)
    const store = await openStore(context)
    const set = await chosenWorkingSet(store, ref, context)
    const clones = await context.progress(`cloning ${ref}`, (onProgress) =>
      cloneMachines(store, ref, count, {
        ...choices,
        ...set,
        name,
        parallel,
        signal,
        onProgress,
      }),
    )
    await Promise.all(clones.map(({ prefetching }) => prefetching))
    const rows = []
    for (const { machine, report, usage } of clones) {
      const { id, pid, state, vsockPath: vsock } = machine
      rows.push({
        ...{ id, pid, state, vsock, restoreMs: report.totalMs, engine: report.engine },
        ...{ phasesMs: report.phasesMs, usage: await usage({ signal }), memory: memoryUse(pid) },
      })
    }
    for (const { machine } of clones) machine.detach()
    const pages = clones[0]?.report.pages
    if (context.json) return context.printJson({ pages, machines: rows })
    context.print(
      table(
        [
          ['NAME', 'STATE', 'PID', 'RESTORED IN', 'FAULTS', 'PRIVATE', 'SHARED'],
          ...rows.map(({ id, state, pid, restoreMs, usage, memory }) => [
            id,
            state,
            String(pid),
            `${restoreMs.toFixed(0)} ms`,
            String(usage.faults.minor + usage.faults.major),
            memory === null ? '-' : humanBytes(memory.privateDirtyBytes + memory.privateCleanBytes),
            memory === null ? '-' : humanBytes(memory.sharedBytes),
          ]),
        ],
        { right: [2, 3, 4, 5, 6] },
      ),
    )
    if (pages !== undefined) for (const line of pageLines(pages)) context.print(line)
  },
}
