import type { Explanation, OwnedPages, OwnerPart } from './explanation.js'

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

interface Box {
  readonly name: string
  readonly pages: number
  readonly colour: string
  readonly inner: readonly Box[]
}

/**
 * A picture of an explanation, as flame graphs draw stacks: a row for the set, below it processes and what
 * belongs to none, then kinds of memory, then names. Widths are shares of the set's pages; the text of a box
 * is its tooltip too.
 */
export function flameSvg(explanation: Explanation, title: string): string {
  const root: Box = {
    name: title,
    pages: explanation.pages,
    colour: '#d8dde2',
    inner: nest(explanation.owners, [groupOf, ({ part }) => part, ({ name }) => name]),
  }
  const rows = 4
  const height = rows * rowHeight + 1
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace, monospace" font-size="12">
${draw(root, { x: 0, row: 0, total: Math.max(1, root.pages) }).join('\n')}
</svg>
`
}

/** Who has the pages: one process, several, or what is named by its part. */
function groupOf({ part, processes }: OwnedPages): string {
  const [only, ...others] = processes
  if (only === undefined) return part === 'file' ? 'page cache' : part
  return others.length === 0 ? `${only.name} (${only.pid})` : 'several processes'
}

function nest(
  owners: readonly OwnedPages[],
  [level, ...levels]: readonly ((owner: OwnedPages) => string)[],
): Box[] {
  if (level === undefined) return []
  const groups = new Map<string, OwnedPages[]>()
  for (const owner of owners) {
    const group = groups.get(level(owner))
    if (group === undefined) groups.set(level(owner), [owner])
    else group.push(owner)
  }
  return [...groups]
    .filter(([name]) => name !== '')
    .map(([name, all]) => {
      const inner = nest(all, levels)
      const [only, ...others] = inner
      return {
        name,
        pages: all.reduce((sum, { pages }) => sum + pages, 0),
        colour: colours[(all[0] as OwnedPages).part],
        // What has no process is a group by its part: that part again would be a row that says nothing.
        inner: only?.name === name && others.length === 0 ? only.inner : inner,
      }
    })
    .sort((a, b) => b.pages - a.pages)
}

function draw(
  box: Box,
  place: { readonly x: number; readonly row: number; readonly total: number },
): string[] {
  const { x, row, total } = place
  const wide = (box.pages / total) * width
  if (wide < leastWidth) return []
  const label = `${box.name}: ${box.pages.toLocaleString('en-US')} pages, ${((100 * box.pages) / total).toFixed(1)} %`
  const letters = Math.floor((wide - 6) / letterWidth)
  const shown = label.length <= letters ? label : letters < 4 ? '' : `${label.slice(0, letters - 1)}…`
  const rect = `<rect x="${x.toFixed(2)}" y="${row * rowHeight}" width="${wide.toFixed(2)}" height="${rowHeight}" fill="${box.colour}" stroke="#fff" stroke-width="0.5"/>`
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
