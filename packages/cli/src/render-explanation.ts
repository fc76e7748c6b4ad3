import type { Explanation, OwnedPages } from '@varve/guest'
import { count, cut, humanPages, sections, table } from './text.js'

/** Rows of owners that are shown unless all are asked for. */
const usualRows = 40
const mostProcesses = 3

/** A table of parts, then one of owners, the largest first. */
export function renderExplanation(explanation: Explanation, all: boolean): string {
  const { owners, pages, writtenPages, unexplainedPages, skipped, hasFrameFlags } = explanation
  const shown = all ? owners : owners.slice(0, usualRows)
  const rest = owners.slice(shown.length).reduce((sum, it) => sum + it.pages, 0)
  const row = (it: Pick<OwnedPages, 'pages' | 'writtenPages'>, ...names: string[]) => [
    share(it.pages, pages),
    String(it.pages),
    humanPages(it.pages),
    String(it.writtenPages),
    ...names,
  ]
  const head = ['SHARE', 'PAGES', 'SIZE', 'WRITTEN']
  return sections([
    `${count(pages, 'page')}, ${humanPages(pages)}, ${writtenPages} of them written; ${share(unexplainedPages, pages)} unexplained`,
    !hasFrameFlags &&
      'the guest’s kernel has no /proc/kpageflags: what is free, and what is the kernel’s, is unexplained',
    skipped > 0 && `not looked at, because too large or too many: ${skipped} mappings and files`,
    table([[...head, 'KIND'], ...parts(owners).map((it) => row(it, it.part))], { right: [0, 1, 2, 3] }),
    table(
      [
        [...head, 'KIND', 'NAME', 'PROCESSES'],
        ...shown.map((it) => row(it, it.part, cut(it.name, 60), processesText(it))),
      ],
      { right: [0, 1, 2, 3] },
    ),
    rest > 0 &&
      `${humanPages(rest)} of ${count(owners.length - shown.length, 'other owner')}: see --all or --json`,
  ])
}

function parts(owners: readonly OwnedPages[]) {
  const sums = new Map<string, { part: string; pages: number; writtenPages: number }>()
  for (const { part, pages, writtenPages } of owners) {
    const sum = sums.get(part) ?? { part, pages: 0, writtenPages: 0 }
    sums.set(part, { part, pages: sum.pages + pages, writtenPages: sum.writtenPages + writtenPages })
  }
  return [...sums.values()].sort((a, b) => b.pages - a.pages)
}

function processesText({ processes }: OwnedPages): string {
  const some = processes.slice(0, mostProcesses).map(({ name, pid }) => `${name} (${pid})`)
  const others = processes.length - some.length
  return some.join(', ') + (others > 0 ? ` and ${others} more` : '')
}

const share = (part: number, whole: number) => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`
