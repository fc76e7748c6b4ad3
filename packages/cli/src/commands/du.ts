import type { DerivedCopy, LayerUsage } from 'varve'
import { VarveError } from 'varve'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes, humanPages, sections, shortId, table } from '../text.js'

export const command: Command = {
  usage: 'usage: varve du [REF] [--explain] [--json]',
  options: { ...storeOption, explain: { type: 'boolean' } },
  help: `
  REF        only the layers of this snapshot; default: all layers of the store
  --explain  also read every data page, and say how much is in the store a second time, and how much
             really changed

For each memory layer: the snapshot that it completes, its layout, the space that it takes on disk,
how many snapshots use it, and how it describes the guest's pages: DATA (stored), ZERO (nothing
stored), INHERITED (taken over from the parent). With --explain, DUPLICATE is data that another page
in the store holds too, and CHANGED is what differs from the parent. The guest wrote the rest of
DATA and ZERO with the content that was there already.

FLAT COPIES are files that the file engine made: the memory of a snapshot as one file. A restore
makes them again if it needs them; varve gc removes those of snapshots that are gone.

Sizes are blocks on disk, so holes do not count. Without REF, every file of the directory counts
once, and the last line is what du -s prints.

Examples:
  varve du
  varve du monday --explain
  varve du --json`,
  run: async (context) => {
    const [ref, ...more] = context.positionals
    if (more.length > 0) throw new VarveError('USAGE', 'expected at most one REF')
    const { signal, values } = context
    const explain = values.explain === true
    const store = await openStore(context)
    const { layers, disk, copies } = await context.progress('reading layers', async (onProgress) => {
      const options = { signal, onProgress, deep: explain, ref }
      return {
        layers: await store.usage(options),
        disk: await store.diskUsage(options),
        copies: await store.derivedCopies({ ref }),
      }
    })
    const totals = totalsOf(layers)
    if (context.json)
      return context.printJson({
        ...{ store: store.location, layers, totals, copies },
        // `bytes` are their sizes.
        others: { ...disk.others, bytes: disk.others.sizeBytes },
        restBytes: disk.restBytes,
        totalBytes: disk.totalBytes,
      })
    context.print(
      sections([
        render(layers, totals, explain),
        copies.length > 0 && renderCopies(copies),
        [
          `disks, states, maps and manifests: ${count(disk.others.blobs, 'blob')} with ${humanBytes(disk.others.diskBytes)} on disk`,
          ...(disk.restBytes === null || disk.totalBytes === null
            ? []
            : [
                `index, leases, directories and what gc would remove: ${humanBytes(disk.restBytes)} on disk`,
                `the whole store: ${humanBytes(disk.totalBytes)} on disk`,
              ]),
        ].join('\n'),
      ]),
    )
  },
}

type Totals = ReturnType<typeof totalsOf>

function totalsOf(layers: readonly LayerUsage[]) {
  const sum = (value: (layer: LayerUsage) => number) =>
    layers.reduce((total, layer) => total + value(layer), 0)
  const sumKnown = (value: (layer: LayerUsage) => number | null) =>
    layers.every((layer) => value(layer) === null) ? null : sum((layer) => value(layer) ?? 0)
  return {
    diskBytes: sum(({ diskBytes }) => diskBytes),
    dataPages: sum(({ dataPages }) => dataPages),
    zeroPages: sum(({ zeroPages }) => zeroPages),
    inheritedPages: sum(({ inheritedPages }) => inheritedPages),
    duplicatePages: sumKnown(({ duplicatePages }) => duplicatePages),
    changedPages: sumKnown(({ changedPages }) => changedPages),
  }
}

function renderCopies(copies: readonly DerivedCopy[]): string {
  const total = copies.reduce((sum, { diskBytes }) => sum + diskBytes, 0)
  return table(
    [
      ['FLAT COPY OF', 'KIND', 'ON DISK', 'SIZE'],
      ...copies.map((it) => [
        shortId(it.snapshot),
        it.kind,
        humanBytes(it.diskBytes),
        humanBytes(it.sizeBytes),
      ]),
      ['total', '', humanBytes(total), ''],
    ],
    { right: [2, 3] },
  )
}

function render(layers: readonly LayerUsage[], totals: Totals, explain: boolean): string {
  const numbers = (it: Totals) => [
    humanBytes(it.diskBytes),
    ...[it.dataPages, it.zeroPages, it.inheritedPages].map(humanPages),
    ...(explain
      ? [it.duplicatePages, it.changedPages].map((pages) => (pages === null ? '-' : humanPages(pages)))
      : []),
  ]
  return table(
    [
      [
        'LAYER OF',
        'LAYOUT',
        'USED BY',
        'ON DISK',
        'DATA',
        'ZERO',
        'INHERITED',
        ...(explain ? ['DUPLICATE', 'CHANGED'] : []),
      ],
      ...layers.map((it) => [shortId(it.image), it.layout, String(it.usedBy), ...numbers(it)]),
      ['total', '', '', ...numbers(totals)],
    ],
    { right: [2, 3, 4, 5, 6, 7, 8] },
  )
}
