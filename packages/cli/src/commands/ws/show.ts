import { pagesFrom, zeroSource } from 'varve/layers'
import { classify, emptyPageSet, presentPages, runsOf } from 'varve/working-sets'
import { positionals, stringOption } from '../../arguments.js'
import type { Command } from '../../command.js'
import { loadPictures, type Pictures } from '../../lab.js'
import { classesPerLayer, renderWorkingSet, textMap } from '../../render-working-set.js'
import { openStore, storeOption } from '../../store.js'
import { loadWorkingSet, openImageOf, placeHelp } from '../../working-set-place.js'
import { writeNew } from '../../write-new.js'

export const command: Command = {
  usage: 'usage: varve ws show SET [--png FILE] [--groups-png FILE] [--runs] [--json]',
  options: {
    ...storeOption,
    png: { type: 'string' },
    'groups-png': { type: 'string' },
    runs: { type: 'boolean' },
  },
  help: `
  --png FILE         a picture, a pixel a page (1 GiB of guest is 512 × 512), coloured by class:
                     written, only read, cold, zero
  --groups-png FILE  the same picture, coloured by when a page was first touched
  --runs             with --json: the runs of pages themselves

${placeHelp}
Shows how many pages were touched, read and written, in which layers they lie, and a map of the
guest's memory. Files of pictures must not exist. The package @varve/lab draws them.

Examples:
  varve ws show monday:hello
  varve ws show monday:hello --png classes.png --groups-png order.png
  varve ws show hello.ws --json --runs`,
  run: async (context) => {
    const [text] = positionals(context, ['SET'])
    const store = await openStore(context)
    const set = await loadWorkingSet(store, text, context)
    await using snapshot = await openImageOf(store, set, context)
    const classes = classify({
      present: presentPages(set),
      written: set.written,
      zero: snapshot === undefined ? emptyPageSet : pagesFrom(snapshot.map, zeroSource),
      pages: set.pages,
    })
    for (const [option, draw] of [
      ['png', ({ heatMapPng }: Pictures) => heatMapPng(classes)],
      ['groups-png', ({ groupMapPng }: Pictures) => groupMapPng(set)],
    ] as const) {
      const path = stringOption(context.values, option)
      if (path !== undefined) await writeNew(path, draw(await loadPictures()))
    }
    const perLayer = snapshot === undefined ? undefined : classesPerLayer(set, snapshot)
    if (!context.json) return context.print(renderWorkingSet(set, perLayer, textMap(classes)))
    const { image, pages, recordedAtMs, windowMs, readOnly, written, groups, notes } = set
    context.printJson({
      image,
      memoryPages: pages,
      recordedAt: new Date(recordedAtMs).toISOString(),
      windowMs,
      readOnlyPages: readOnly.pages,
      writtenPages: written.pages,
      groups: groups.map((group) => ({
        atMs: group.atMs,
        pages: group.set.pages,
        ...(context.values.runs === true ? { runs: [...runsOf(group.set)] } : {}),
      })),
      notes,
      layers: perLayer ?? null,
      ...(context.values.runs === true
        ? { readOnlyRuns: [...runsOf(readOnly)], writtenRuns: [...runsOf(written)] }
        : {}),
    })
  },
}
