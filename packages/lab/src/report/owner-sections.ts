import type { Explanation, OwnedPages, OwnerPart } from '@varve/guest'
import type { ExplanationRow } from '../experiments/explanation-row.js'
import { barChart } from './charts.js'
import { escapeHtml, tableHtml } from './html.js'
import { ownerFlame } from './owner-flame.js'
import { partsByColour } from './part-colours.js'
import { bytesText } from './units.js'

/** More than this make a page too heavy to open. */
const mostExplained = 40
/** Owners of a set that its table shows. */
const mostOwners = 40
const mostProcesses = 3

/**
 * Who in the guest has the pages of each set: a table by kind, a picture, the largest owners. Empty without.
 */
export function ownersSection(explanations: readonly ExplanationRow[]): string {
  if (explanations.length === 0) return ''
  const shown = explanations.slice(0, mostExplained)
  const only = shown.length === 1
  const each = shown.map(({ name, explanation }, index) => {
    const content = explained(name, explanation)
    return only
      ? `<h3>${escapeHtml(name)}</h3><p class="soft">${escapeHtml(inShort(explanation))}</p>${content}`
      : `<details${index < 2 ? ' open' : ''}><summary>${escapeHtml(name)}<span class="soft">${escapeHtml(inShort(explanation))}</span></summary>${content}</details>`
  })
  const left =
    explanations.length > shown.length
      ? `<p class="soft">${explanations.length - shown.length} more are in the rows.</p>`
      : ''
  return `<h2>Who has the pages</h2><p class="soft">The pages of each set by their owner in the guest, when the work was done. A page that several processes share counts once. <i>Free</i>: the work has given it back. <i>Unexplained</i>: memory of the guest’s kernel that carries no mark.</p>${only ? '' : overview(shown)}${each.join('')}${left}`
}

const overview = (shown: readonly ExplanationRow[]) =>
  barChart(
    shown.map(({ name, explanation }) => ({
      name,
      label: bytesText(explanation.pages * 4096),
      parts: byPart(explanation).map(({ part, pages }) => ({
        name: part,
        value: pages,
        text: bytesText(pages * 4096),
      })),
    })),
    partsByColour,
    'pages of each set by kind',
  )

function explained(name: string, explanation: Explanation): string {
  const { pages, owners, skipped, hasFrameFlags } = explanation
  const numbers = (it: Pick<OwnedPages, 'pages' | 'writtenPages'>) => [
    share(it.pages, pages),
    it.pages.toLocaleString('en-US'),
    it.writtenPages.toLocaleString('en-US'),
  ]
  const head = ['share', 'pages', 'written']
  const caveats = [
    ...(hasFrameFlags
      ? []
      : [
          'The guest’s kernel has no /proc/kpageflags: what is free, and what is the kernel’s, is unexplained.',
        ]),
    ...(skipped === 0
      ? []
      : [`Not looked at, because too large or too many: ${skipped} mappings and files.`]),
  ]
  const shown = owners.slice(0, mostOwners)
  const left = owners.length - shown.length
  return [
    ...caveats.map((text) => `<p class="soft">${text}</p>`),
    `<div class="kinds">${tableHtml(
      ['kind', ...head],
      byPart(explanation).map((it) => ({
        cells: [
          { html: `<i class="swatch f${partsByColour.indexOf(it.part)}"></i>${escapeHtml(it.part)}` },
          ...numbers(it),
        ],
      })),
    )}</div>`,
    ownerFlame(explanation, name),
    `<details><summary>The largest owners</summary><div class="owners">${tableHtml(
      ['owner', ...head, 'processes'],
      shown.map((it) => ({
        cells: [it.name === '' ? it.part : `${it.part}: ${it.name}`, ...numbers(it), processesText(it)],
      })),
    )}</div>${left === 0 ? '' : `<p class="soft">${left} smaller ones are in the rows.</p>`}</details>`,
  ].join('\n')
}

const inShort = ({ pages, writtenPages, unexplainedPages }: Explanation) =>
  `${pages.toLocaleString('en-US')} pages, ${bytesText(pages * 4096)}, ${share(writtenPages, pages)} of them written, ${share(unexplainedPages, pages)} unexplained`

/** The largest first. */
function byPart({ owners }: Explanation) {
  const sums = new Map<OwnerPart, Pick<OwnedPages, 'part' | 'pages' | 'writtenPages'>>()
  for (const { part, pages, writtenPages } of owners) {
    const sum = sums.get(part)
    sums.set(part, {
      part,
      pages: pages + (sum?.pages ?? 0),
      writtenPages: writtenPages + (sum?.writtenPages ?? 0),
    })
  }
  return [...sums.values()].sort((a, b) => b.pages - a.pages)
}

function processesText({ processes }: OwnedPages): string {
  const some = processes.slice(0, mostProcesses).map(({ name, pid }) => `${name} (${pid})`)
  const others = processes.length - some.length
  return some.join(', ') + (others > 0 ? ` and ${others} more` : '')
}

const share = (part: number, whole: number) => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`
