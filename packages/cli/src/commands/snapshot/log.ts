import type { SnapshotEntry, SnapshotStore } from 'varve'
import type { ImageId } from 'varve/layers'
import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { rowCells, rowHeader, rowRight, sayDamage, snapshotRows } from '../../snapshot-row.js'
import { openStore, storeOption } from '../../store.js'
import { shortId, table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot log REF [--json]',
  options: storeOption,
  help: `
Shows the snapshot, its parent, and so on down to the base. This is history only: a restore needs
none of the parents. If a parent is gone, the list ends there. Columns and JSON are those of varve
snapshot ls, newest first; --json also has "missing", the parent that is not in the store.

Example:
  varve snapshot log monday`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const store = await openStore(context)
    const { line, missing } = await lineOf(store, ref)
    const rows = await context.progress('reading the store', (update) =>
      snapshotRows(store, line, { signal: context.signal, onProgress: update }),
    )
    if (context.json) return context.printJson({ store: store.location, snapshots: rows, missing })
    context.print(table([rowHeader, ...rows.map((row) => rowCells(row))], { right: rowRight }))
    if (missing !== null) context.say(`${shortId(missing)}, before that, is not in the store`)
    sayDamage(context, rows)
  },
}

async function lineOf(
  store: SnapshotStore,
  ref: string,
): Promise<{ readonly line: readonly SnapshotEntry[]; readonly missing: ImageId | null }> {
  const start = await store.resolve(ref)
  const entries = new Map((await store.list()).map((entry) => [entry.id, entry]))
  const line = [start]
  // Each entry once, so that parents that lead round in a circle end the walk too.
  entries.delete(start.id)
  let missing = start.parent
  for (let next = entries.get(missing ?? ''); next !== undefined; next = entries.get(missing ?? '')) {
    line.push(next)
    entries.delete(next.id)
    missing = next.parent
  }
  return { line, missing }
}
