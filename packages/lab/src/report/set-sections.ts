import type { PageClass } from 'varve/working-sets'
import { classColours } from '../pictures/heat-map-png.js'
import { escapeHtml, tableHtml } from './html.js'
import { classPicture, mostCompared, mostPictures, overlaps, type RecordedSet, timePicture } from './sets.js'
import { bytesText } from './units.js'

const classMeaning: Readonly<Record<PageClass, string>> = {
  written: 'written',
  'read-only': 'only read',
  cold: 'not touched',
  zero: 'zero in the image',
}

const dataUri = (png: Buffer) => `data:image/png;base64,${png.toString('base64')}`

/** Recorded sets, each drawn by class and, if it has groups, by time. Empty without sets. */
export function pictures(sets: readonly RecordedSet[]): string {
  if (sets.length === 0) return ''
  const shown = sets.slice(0, mostPictures)
  const legend = (Object.keys(classMeaning) as PageClass[])
    .map(
      (it) =>
        `<span><i class="swatch" style="background:rgb(${classColours[it].slice(0, 3).join(' ')})"></i>${classMeaning[it]}</span>`,
    )
    .join(' &nbsp; ')
  const figures = shown.map((set) => {
    const { workingSet: of, present } = set
    const text = `${bytesText(present.pages * 4096)} touched of ${bytesText(of.pages * 4096)}: ${bytesText(of.readOnly.pages * 4096)} only read, ${bytesText(of.written.pages * 4096)} written`
    const byTime =
      of.groups.length < 2
        ? ''
        : `<figure><img alt="when pages of ${escapeHtml(set.name)} were first touched" src="${dataUri(timePicture(set))}"><figcaption>${escapeHtml(set.name)}, by time: first violet, last yellow</figcaption></figure>`
    return `<div class="pictures"><figure><img alt="classes of pages of ${escapeHtml(set.name)}" src="${dataUri(classPicture(set))}"><figcaption>${escapeHtml(set.name)}, by class. ${escapeHtml(text)}</figcaption></figure>${byTime}</div>`
  })
  const left =
    sets.length > shown.length
      ? `<p class="soft">${sets.length - shown.length} more are in the rows.</p>`
      : ''
  return `<h2>What was touched</h2><p class="soft">The guest’s memory, page by page from the upper left. ${legend}</p>${figures.join('')}${left}`
}

/** A matrix per image of how alike its sets are. Empty if no image has two. */
export function overlapSection(sets: readonly RecordedSet[]): string {
  const tables = overlaps(sets).map(({ names, jaccard }) => {
    const head = ['', ...names.map((_, n) => String(n + 1))]
    const rows = names.map((of, i) => ({
      cells: [
        `${i + 1}  ${of}`,
        ...(jaccard[i] ?? []).map((value) => ({
          html: `<span class="share" style="background:color-mix(in srgb,var(--c3) ${Math.round(70 * value)}%,transparent);padding:.2rem .45rem;border-radius:.2rem">${value.toFixed(2)}</span>`,
        })),
      ],
    }))
    return `<div class="matrix">${tableHtml(head, rows)}</div>`
  })
  if (tables.length === 0) return ''
  return `<h2>How alike the sets are</h2><p class="soft">Jaccard: pages in both ÷ pages in either. 1 means that a set recorded once would have been exactly right the other time.${sets.length > mostCompared ? ` The first ${mostCompared} of an image.` : ''}</p>${tables.join('')}`
}
