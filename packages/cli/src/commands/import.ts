import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { rowCells, rowHeader, rowRight, snapshotRows } from '../snapshot-row.js'
import { openStore, storeOption } from '../store.js'
import { table } from '../text.js'

export const command: Command = {
  usage: 'usage: varve import FILE [--json]',
  options: storeOption,
  help: `
  FILE      an archive that varve export wrote

Checks the digest of every file in the archive as it comes in, and takes all of its snapshots into
the store, or none. Blobs that the store has are not stored again. Tags of the archive come too, and
move here from where they were. The store is made if it does not exist. Columns and JSON are those
of varve snapshot ls.

Example:
  varve import week.tar`,
  run: async (context) => {
    const [path] = positionals(context, ['FILE'])
    const { signal } = context
    const store = await openStore(context, { create: true })
    const rows = await context.progress(`reading ${path}`, async (onProgress) =>
      snapshotRows(store, await store.importFrom(path, { signal, onProgress }), { signal }),
    )
    if (context.json) return context.printJson({ store: store.location, snapshots: rows })
    context.print(table([rowHeader, ...rows.map((row) => rowCells(row))], { right: rowRight }))
  },
}
