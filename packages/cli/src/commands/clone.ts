import { cloneMachines, memoryUse, VarveError } from 'varve'
import { integerOption, positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
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

Each has its own disks, vsock socket and console, and lives on after this command. PRIVATE is memory
that only that machine takes, SHARED what it has in common with others: pages of files in the page
cache. If one fails, none is left.

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
        ...(name === undefined ? {} : { name }),
        ...(parallel === undefined ? {} : { parallel }),
        signal,
        onProgress,
      }),
    )
    await Promise.all(clones.map(({ prefetching }) => prefetching))
    const rows = clones.map(({ machine, report }) => {
      const { id, pid, state, vsockPath } = machine
      const memory = memoryUse(pid)
      machine.detach()
      return { id, pid, state, vsock: vsockPath, restoreMs: report.totalMs, memory }
    })
    if (context.json) return context.printJson({ machines: rows })
    context.print(
      table(
        [
          ['NAME', 'STATE', 'PID', 'RESTORED IN', 'PRIVATE', 'SHARED'],
          ...rows.map(({ id, state, pid, restoreMs, memory }) => [
            id,
            state,
            String(pid),
            `${restoreMs.toFixed(0)} ms`,
            memory === null ? '-' : humanBytes(memory.privateDirtyBytes + memory.privateCleanBytes),
            memory === null ? '-' : humanBytes(memory.sharedBytes),
          ]),
        ],
        { right: [2, 3, 4, 5] },
      ),
    )
  },
}
