import { basename, join } from 'node:path'
import { connectMachine, frozenMemory, listMachines, logUse, reapMachines, residentBytes } from 'varve'
import { labelOption, labelsOption, positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { age, humanBytes, printable, shortId, table } from '../text.js'

/** A VMM that does not answer this soon is shown as busy: it may be in a long snapshot. */
const askTimeoutMs = 500

export const command: Command = {
  usage: 'usage: varve ps [--label KEY=VALUE]... [--json]',
  options: labelOption,
  help: `
  --label KEY=VALUE  only machines that have this label, repeatable: all of them

Lists the machines of this runtime directory ($VARVE_RUNTIME_DIR). ps removes machines whose process
has ended, and ends those whose owner has ended without detaching them; it says which and why, and
--json has them as "ended". STATE is what Firecracker reports; "busy" means that it did not answer
within ${askTimeoutMs} ms. SNAPSHOT is the parent of the machine's next snapshot: the last one taken of it,
or the one that it was restored from. FROZEN is what the memory costs that a live capture holds
until its snapshot is in the store: copies of pages that the guest has written since. --json also
prints how many bytes each guest wrote to its console, and how many of them, from the beginning,
were dropped.

Examples:
  varve ps
  varve ps --label team=storage`,
  run: async (context) => {
    positionals(context, [])
    const ended = reapMachines()
    for (const { id, reason } of ended) context.say(`removed ${printable(id)}: ${printable(reason)}`)
    const rows = await Promise.all(
      listMachines(undefined, { labels: labelsOption(context.values) }).map(
        async ({ directory, record }) => ({
          id: record.id,
          state: await stateOf(record.id),
          pid: record.process?.pid ?? null,
          residentBytes: record.process ? residentBytes(record.process.pid) : null,
          frozen: frozenMemory(record),
          createdAt: record.createdAt,
          firecracker: record.firecrackerVersion,
          dirtyTracking: record.dirtyTracking,
          origin: record.origin,
          labels: record.labels,
          snapshot: record.snapshotId ?? record.owed?.from ?? null,
          vsock: record.vsockPath,
          guestAgent: record.guestAgent,
          // All bytes that the guest wrote, and how many of the first were dropped.
          console: logUse(join(directory, 'console.log')),
          directory,
        }),
      ),
    )
    if (context.json) return context.printJson({ machines: rows, ended })
    if (rows.length === 0) return context.say('no machines')
    const cells = rows.map((it) => [
      it.id,
      it.state,
      String(it.pid),
      it.residentBytes === null ? '-' : humanBytes(it.residentBytes),
      it.frozen.length === 0
        ? '-'
        : humanBytes(it.frozen.reduce((sum, { copiedBytes }) => sum + copiedBytes, 0)),
      age(it.createdAt),
      it.firecracker,
      it.snapshot === null ? '-' : shortId(it.snapshot),
      // Of a snapshot in a store, the file says less than the column before.
      it.origin.kind === 'boot' ? `boot ${printable(basename(it.origin.from))}` : 'restore',
    ])
    context.print(
      table([
        ['NAME', 'STATE', 'PID', 'RESIDENT', 'FROZEN', 'AGE', 'VERSION', 'SNAPSHOT', 'ORIGIN'],
        ...cells,
      ]),
    )
  },
}

async function stateOf(id: string): Promise<string> {
  try {
    const machine = await connectMachine(id, { signal: AbortSignal.timeout(askTimeoutMs) })
    return machine.state
  } catch {
    // Gone since it was listed, or deep in a long call: either way this command still lists the others.
    return 'busy'
  }
}
