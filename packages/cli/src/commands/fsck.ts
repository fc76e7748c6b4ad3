import { type FsckFinding, VarveError } from 'varve'
import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes, printable, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve fsck [--json]',
  options: storeOption,
  help: `
Reads the whole store, and checks every blob against its digest, every layer against its checksums,
every link from tags to manifests to blobs, and all other files. Each finding says what is wrong,
where, which snapshots cannot be restored because of it, and what to do. Garbage (files that an
interrupted command left) is no error: gc removes it. fsck changes one thing only: it removes the
marks of damaged blobs, so that the next restore refuses them. Exits 4 if there are errors.

Examples:
  varve fsck
  varve fsck --json`,
  run: async (context) => {
    positionals(context, [])
    const store = await openStore(context)
    const report = await context.progress(`checking ${store.location}`, (onProgress) =>
      store.fsck({ signal: context.signal, onProgress }),
    )
    const errors = report.findings.filter(({ severity }) => severity === 'error')
    if (context.json) context.printJson({ store: store.location, ...report })
    else {
      for (const finding of report.findings) context.print(render(finding))
      context.print(
        `${count(report.snapshots, 'snapshot')}, ${count(report.blobs, 'blob')} with ${humanBytes(report.bytes)} read: ${count(errors.length, 'error')}, ${report.findings.length - errors.length} garbage`,
      )
    }
    if (errors.length > 0)
      throw new VarveError('STORE_DAMAGED', `${store.location} has ${count(errors.length, 'error')}`, {
        remedy: 'what to do is said at each of them',
        details: { errors: errors.length },
      })
  },
}

function render({ severity, code, path, offset, message, remedy, snapshots }: FsckFinding): string {
  const where = offset === undefined ? path : `${path} at byte ${offset}`
  return [
    `${severity}  ${code}  ${printable(where)}`,
    `    ${printable(message)}`,
    ...(snapshots.length > 0 ? [`    cannot be restored: ${snapshots.map(shortId).join(', ')}`] : []),
    `    -> ${printable(remedy)}`,
  ].join('\n')
}
