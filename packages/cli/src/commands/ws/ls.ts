import { presentPages, readWorkingSet } from 'varve/working-sets'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { age, humanPages, printable, shortId, table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve ws ls [REF]... [--json]',
  options: { ...storeOption },
  help: `
  REF  only the working sets of these snapshots; default all of the store

Examples:
  varve ws ls
  varve ws ls monday --json`,
  run: async (context) => {
    const { signal } = context
    const store = await openStore(context)
    const refs =
      context.positionals.length > 0 ? context.positionals : (await store.list()).map(({ id }) => id)
    const rows = await context.progress('reading working sets', async () => {
      const found = []
      for (const ref of refs) {
        if ((await store.describe(ref)).workingSets.length === 0) continue
        await using snapshot = await store.open(ref, { signal })
        for (const { name, path } of snapshot.workingSetFiles) {
          const set = await readWorkingSet(path, { signal })
          found.push({
            snapshot: snapshot.entry.id,
            tags: snapshot.entry.tags,
            name,
            recordedAt: new Date(set.recordedAtMs).toISOString(),
            memoryPages: set.pages,
            pages: presentPages(set).pages,
            readOnlyPages: set.readOnly.pages,
            writtenPages: set.written.pages,
            groups: set.groups.length,
            windowMs: set.windowMs,
          })
        }
      }
      return found
    })
    if (context.json) return context.printJson({ workingSets: rows })
    if (rows.length === 0) return context.say('no working sets; varve ws record makes one')
    context.print(
      table(
        [
          ['SET', 'AGE', 'TOUCHED', 'READ-ONLY', 'WRITTEN', 'GROUPS', 'WINDOW'],
          ...rows.map((it) => [
            `${it.tags[0] ?? shortId(it.snapshot)}:${printable(it.name)}`,
            age(it.recordedAt),
            humanPages(it.pages),
            humanPages(it.readOnlyPages),
            humanPages(it.writtenPages),
            String(it.groups),
            `${(it.windowMs / 1000).toFixed(1)} s`,
          ]),
        ],
        { right: [1, 2, 3, 4, 5, 6] },
      ),
    )
  },
}
