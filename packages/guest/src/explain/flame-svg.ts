import type { Explanation, OwnerPart } from './explanation.js'
import { type OwnerBox, ownerBoxText, ownerTree } from './owner-tree.js'

const width = 1200
const rowHeight = 20
/** Of a letter at 12 px, on average. */
const letterWidth = 6.6
/** A narrower box would not be seen. */
const leastWidth = 0.4

const colours: Readonly<Record<OwnerPart, string>> = {
  anonymous: '#e4572e',
  heap: '#f08a4b',
  stack: '#f3b562',
  'private copy': '#c86bb0',
  'shared memory': '#a05fb5',
  file: '#4a90c2',
  kernel: '#6a9c5b',
  free: '#b9c0c7',
  unexplained: '#8d949c',
}

/** Of the box of the whole set. */
const ofSet = '#d8dde2'

/**
 * A picture of an explanation, as flame graphs draw stacks: a row for the set, below it processes and what
 * belongs to none, then kinds of memory, then names. Widths are shares of the set's pages; the text of a box
 * is its tooltip too.
 */
export function flameSvg(explanation: Explanation, title: string): string {
  const root = ownerTree(explanation, title)
  const rows = 4
  const height = rows * rowHeight + 1
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace, monospace" font-size="12">
${draw(root, { x: 0, row: 0, total: Math.max(1, root.pages) }).join('\n')}
</svg>
`
}

function draw(
  box: OwnerBox,
  place: { readonly x: number; readonly row: number; readonly total: number },
): string[] {
  const { x, row, total } = place
  const wide = (box.pages / total) * width
  if (wide < leastWidth) return []
  const label = ownerBoxText(box, total)
  const letters = Math.floor((wide - 6) / letterWidth)
  const shown = label.length <= letters ? label : letters < 4 ? '' : `${label.slice(0, letters - 1)}…`
  const rect = `<rect x="${x.toFixed(2)}" y="${row * rowHeight}" width="${wide.toFixed(2)}" height="${rowHeight}" fill="${box.part === undefined ? ofSet : colours[box.part]}" stroke="#fff" stroke-width="0.5"/>`
  const text =
    shown === ''
      ? ''
      : `<text x="${(x + 3).toFixed(2)}" y="${row * rowHeight + 14}">${escapeXml(shown)}</text>`
  let at = x
  const inner = box.inner.flatMap((it) => {
    const boxes = draw(it, { x: at, row: row + 1, total })
    at += (it.pages / total) * width
    return boxes
  })
  return [`<g><title>${escapeXml(label)}</title>${rect}${text}</g>`, ...inner]
}

const escapeXml = (text: string): string =>
  text.replace(/[&<>"']/g, (it) => `&#${it.codePointAt(0)};`).replace(/\p{C}/gu, '?')
