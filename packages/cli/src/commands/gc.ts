import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve gc [--dry-run] [--json]',
  options: { ...storeOption, 'dry-run': { type: 'boolean' } },
  help: `
  --dry-run  print what gc would remove, and remove nothing

Removes what is not needed: snapshots without a tag, blobs that no snapshot has, flat copies, and
files that interrupted commands left. A running machine needs the snapshot that it was restored from
and the one that its log of written pages counts from, with or without tags. gc may run at any time,
also during captures and restores.

Examples:
  varve gc --dry-run
  varve gc --json`,
  run: async (context) => {
    positionals(context, [])
    const dryRun = context.values['dry-run'] === true
    const store = await openStore(context)
    const report = await context.progress(`looking through ${store.location}`, (onProgress) =>
      store.gc({ signal: context.signal, onProgress, dryRun }),
    )
    if (context.json) return context.printJson({ store: store.location, dryRun, ...report })
    const { removedBlobs, removedBytes, removedSnapshots, leasedBlobs } = report
    const { removedStaging, removedFlat, removedLeases, removedClones } = report
    const parts = [
      removedSnapshots.length > 0 && count(removedSnapshots.length, 'snapshot'),
      removedBlobs > 0 && `${count(removedBlobs, 'blob')} with ${humanBytes(removedBytes)}`,
      removedFlat > 0 && count(removedFlat, 'flat file'),
      removedLeases > 0 && `${count(removedLeases, 'lease')} of processes that have ended`,
      removedClones > 0 && `the disks of ${count(removedClones, 'machine')} that have ended`,
      removedStaging > 0 && `what ${count(removedStaging, 'command')} left unfinished`,
    ].filter((it) => it !== false)
    for (const id of removedSnapshots) context.print(`snapshot ${shortId(id)}`)
    if (parts.length === 0) context.print('nothing to remove')
    else context.print(`${dryRun ? 'would remove' : 'removed'} ${parts.join(', ')}`)
    for (const path of report.unknownClones)
      context.print(`kept ${path}: it does not say which machine’s disks it has; if none runs, rm -r it`)
    if (leasedBlobs > 0)
      context.print(`kept ${count(leasedBlobs, 'blob')} that no tag needs but a machine or command does`)
  },
}
