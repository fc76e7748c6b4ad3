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

Checks the digest of every file in the archive while reading it, and takes all of its snapshots into
the store, or none. A blob that the store has already is not stored again. If a tag of the archive
exists in the store, it moves to the imported snapshot. import makes the store if it does not exist.
Columns and JSON are those of varve snapshot ls.

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
