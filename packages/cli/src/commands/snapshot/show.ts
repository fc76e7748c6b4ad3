import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { renderSnapshot } from '../../render-snapshot.js'
import { extentList, snapshotReport } from '../../snapshot-report.js'
import { openStore, storeOption } from '../../store.js'

export const command: Command = {
  usage: 'usage: varve snapshot show REF [--extents] [--json]',
  options: { ...storeOption, extents: { type: 'boolean' } },
  help: `
  --extents  list every extent: which pages come from which page of which layer

Shows when and where the snapshot was taken, the machine as Firecracker knew it, its disks, and its
layers, base first, with how much of each is still in use. STORES is the data that the layer holds,
IN USE the part that no later layer replaced. --json has Firecracker's whole machine configuration.

Examples:
  varve snapshot show base
  varve snapshot show base --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const store = await openStore(context)
    const { report, map } = await context.progress(`reading ${ref}`, (onProgress) =>
      snapshotReport(store, ref, { signal: context.signal, onProgress }),
    )
    const list = context.values.extents === true && map !== null ? extentList(map) : undefined
    if (context.json) return context.printJson(list === undefined ? report : { ...report, extentList: list })
    context.print(renderSnapshot(report, list))
    if (report.damage !== null)
      context.say(`not all could be read: ${report.damage.message} [${report.damage.code}]; see varve fsck`)
  },
}
