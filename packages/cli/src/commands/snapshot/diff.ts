import { type OpenSnapshot, pageSizeBytes } from 'varve'
import { compareImages, pagesFrom, zeroSource } from 'varve/layers'
import { intersect, minus, type PageSet, runsOf } from 'varve/working-sets'
import { positionals } from '../../arguments.js'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { count, humanBytes, humanPages, sections, shortId, table } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot diff A B [--runs] [--json]',
  options: { ...storeOption, runs: { type: 'boolean' } },
  help: `
  A, B      two snapshots of machines with the same memory size; they need not be related
  --runs    list the runs of pages that differ

Compares the memory as the guest sees it, page by page. Pages that both snapshots take from the same
place of the same layer are not read. Pages are 4 KiB, numbered in memory-file order. Disks are
compared by their digests. The exit status is 0 whether or not they differ.

Examples:
  varve snapshot diff base monday
  varve snapshot diff base monday --runs --json`,
  run: async (context) => {
    const [left, right] = positionals(context, ['A', 'B'])
    const { signal } = context
    const store = await openStore(context)
    const { pages, changes, disks, ids, memoryPages } = await context.progress(
      `comparing ${left} and ${right}`,
      async (onProgress) => {
        await using a = await store.open(left, { signal, onProgress })
        await using b = await store.open(right, { signal, onProgress })
        const differing = await compareImages(a, b, {
          signal,
          onProgress: (done, total) => onProgress(`${done} of ${total} pages`),
        })
        return {
          pages: differing,
          changes: kindsOfChange(differing, a, b),
          disks: compareDisks(a, b),
          ids: [a.entry.id, b.entry.id] as const,
          memoryPages: a.map.pages,
        }
      },
    )
    const runs = pages.starts.length
    if (context.json)
      return context.printJson({
        a: ids[0],
        b: ids[1],
        memoryPages,
        pages: pages.pages,
        runs,
        bytes: pages.pages * pageSizeBytes,
        changes,
        disks,
        ...(context.values.runs === true ? { pageRuns: [...runsOf(pages)] } : {}),
      })
    context.print(
      sections([
        `${shortId(ids[0])} and ${shortId(ids[1])}: ${count(pages.pages, 'page')} of ${memoryPages} differ, ${humanPages(pages.pages)} in ${count(runs, 'run')}`,
        table(
          [
            ['PAGES THAT WERE', 'COUNT', 'SIZE'],
            ...Object.entries(changes).map(([kind, n]) => [
              changeNames[kind as Change],
              String(n),
              humanPages(n),
            ]),
          ],
          { right: [1, 2] },
        ),
        disks.length > 0 && diskTable(disks),
        context.values.runs === true && runs > 0 && runTable(pages),
      ]),
    )
  },
}

const diskTable = (disks: readonly DiskDifference[]) =>
  table([
    ['DISK', 'SIZE IN A', 'SIZE IN B', 'CONTENT'],
    ...disks.map(({ drive, sizeBytes, same }) => [
      drive,
      ...sizeBytes.map((it) => (it === null ? '-' : humanBytes(it))),
      same ? 'same' : 'differs',
    ]),
  ])

const runTable = (pages: PageSet) =>
  table(
    [
      ['FIRST PAGE', 'PAGES', 'SIZE'],
      ...[...runsOf(pages)].map((it) => [String(it.start), String(it.count), humanPages(it.count)]),
    ],
    { right: [0, 1, 2] },
  )

const changeNames = {
  zeroToData: 'zero, now data',
  dataToZero: 'data, now zero',
  dataToData: 'data, now other data',
} as const
type Change = keyof typeof changeNames

/** What differing pages were in A and are in B. That both are zero cannot be. */
function kindsOfChange(differing: PageSet, a: OpenSnapshot, b: OpenSnapshot): Record<Change, number> {
  const zeroInA = intersect(differing, pagesFrom(a.map, zeroSource))
  const zeroInB = intersect(differing, pagesFrom(b.map, zeroSource))
  return {
    zeroToData: zeroInA.pages,
    dataToZero: zeroInB.pages,
    dataToData: minus(minus(differing, zeroInA), zeroInB).pages,
  }
}

interface Side {
  readonly digest: string | undefined
  readonly sizeBytes: number | null
}

interface DiskDifference {
  readonly drive: string
  /** In A and in B; null if that has no such drive. */
  readonly sizeBytes: readonly [number | null, number | null]
  readonly same: boolean
}

function compareDisks(a: OpenSnapshot, b: OpenSnapshot): DiskDifference[] {
  const drives = [...new Set([...a.config.disks, ...b.config.disks].map(({ drive }) => drive))].sort()
  return drives.map((drive) => {
    const [inA, inB] = [a, b].map(({ config, disks }) => {
      const digest = disks.find(({ annotations }) => annotations?.['dev.varve.drive'] === drive)?.digest
      return { digest, sizeBytes: config.disks.find((disk) => disk.drive === drive)?.sizeBytes ?? null }
    }) as [Side, Side]
    return { drive, sizeBytes: [inA.sizeBytes, inB.sizeBytes], same: inA.digest === inB.digest }
  })
}
