import { connectMachine, frozenMemory, memoryUse, restoreUsage, VarveError } from 'varve'
import { someNames } from '../arguments.js'
import type { Command } from '../command.js'
import { usageLines } from '../render-restore.js'
import { humanBytes, sections, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve stats NAME...',
  options: {},
  help: `
Shows what restored machines have used since their load: page faults of the VMM, without (minor) and
with (major) a wait for a disk; bytes that the VMM read from disks, and bytes that were read ahead
for it; how many pages of its working set the guest has not touched (a range if page tables do not
tell more); its private memory, and the memory that it shares with others; what the memory costs
that a live capture holds. stats does not disturb the guest.

Examples:
  varve stats web2
  varve stats web-1 web-2 --json`,
  run: async (context) => {
    const { signal } = context
    const rows = []
    for (const name of someNames(context)) {
      const machine = await connectMachine(name, { signal })
      if (machine.state === 'launched') throw new VarveError('MACHINE_STATE', `${name} has no guest yet`)
      const { id, pid, state } = machine
      rows.push({
        id,
        state,
        pid,
        ...(await restoreUsage(machine, { signal })),
        memory: memoryUse(pid),
        frozen: frozenMemory(machine),
      })
    }
    if (context.json) return context.printJson({ machines: rows })
    context.print(
      sections(
        rows.map(({ id, state, pid, memory, frozen, ...usage }) =>
          [
            `${id}  ${state}  pid ${pid}  ${usage.engine}, from ${shortId(usage.snapshot)} ${(usage.ageMs / 1000).toFixed(1)} s ago`,
            ...usageLines(usage),
            ...(memory === null
              ? []
              : [
                  `memory  ${humanBytes(memory.privateDirtyBytes + memory.privateCleanBytes)} private, ${humanBytes(memory.sharedBytes)} shared`,
                ]),
            ...frozen.map(
              (it) => `frozen  ${humanBytes(it.copiedBytes)} of copies for a live capture (pid ${it.pid})`,
            ),
          ].join('\n'),
        ),
      ),
    )
  },
}
