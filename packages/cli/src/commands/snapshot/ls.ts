import { labelOption, labelsOption, positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { rowCells, rowHeader, rowRight, sayDamage, snapshotRows } from '../../snapshot-row.js'
import { snapshotTree } from '../../snapshot-tree.js'
import { openStore, storeOption } from '../../store.js'
import { table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot ls [--label KEY=VALUE]... [--tree] [--json]',
  options: { ...storeOption, ...labelOption, tree: { type: 'boolean' } },
  help: `
  --label KEY=VALUE  only snapshots that have this label, repeatable: all of them
  --tree    print each snapshot below its parent; if a parent has several children, the longest line
            of descent stays in place and the others are indented

DATA is the memory that the snapshot's own layer stores. LAYERS is the number of layers that make up
its memory; it does not change what a restore costs. Newest last. --json lists { id, parent, tags,
createdAt, kind, memoryPages, dataBytes, layers, labels, error }; if a snapshot is damaged, fields
that cannot be read are null, and error says why.

Examples:
  varve snapshot ls
  varve snapshot ls --tree
  varve snapshot ls --json`,
  run: async (context) => {
    positionals(context, [])
    const store = await openStore(context)
    const labels = labelsOption(context.values)
    const rows = await context.progress('reading the store', async (update) =>
      snapshotRows(store, await store.list({ labels }), { signal: context.signal, onProgress: update }),
    )
    if (context.json) return context.printJson({ store: store.location, snapshots: rows })
    if (rows.length === 0) return context.say(`no snapshots in ${store.location}`)
    const cells =
      context.values.tree === true
        ? snapshotTree(rows).flatMap(({ row, mark, root }, i) => [
            ...(root && i > 0 ? [[]] : []),
            rowCells(row, mark),
          ])
        : rows.map((row) => rowCells(row))
    context.print(table([rowHeader, ...cells], { right: rowRight }))
    sayDamage(context, rows)
  },
}
