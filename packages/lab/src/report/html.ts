/** Text of a rows file may say anything. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (it) => `&#${it.charCodeAt(0)};`)

/** Cells that are markup of this package, not text. */
export interface Markup {
  readonly html: string
}
export type TableCell = string | Markup

const cellHtml = (cell: TableCell) => (typeof cell === 'string' ? escapeHtml(cell) : cell.html)

export interface TableRow {
  readonly cells: readonly TableCell[]
  readonly className?: string
}

/** The first column stays in sight if a narrow screen scrolls the others. */
export function tableHtml(head: readonly string[], rows: readonly TableRow[]): string {
  const header = head.map((name) => `<th scope="col">${escapeHtml(name)}</th>`).join('')
  const body = rows.map(({ cells, className }) => {
    const [first = '', ...rest] = cells
    return `<tr${className === undefined ? '' : ` class="${className}"`}><th scope="row">${cellHtml(first)}</th>${rest.map((cell) => `<td>${cellHtml(cell)}</td>`).join('')}</tr>`
  })
  return `<div class="scroll" tabindex="0"><table><thead><tr>${header}</tr></thead><tbody>${body.join('')}</tbody></table></div>`
}

/** One line under the title: the minute (of an ISO date), then facts by name. */
export function factList(at: string, facts: readonly (readonly string[])[]): string {
  const items = facts.map(
    ([name = '', value = '']) => `<li>${escapeHtml(name)} <b>${escapeHtml(value)}</b></li>`,
  )
  return `<ul class="facts"><li>${escapeHtml(at.slice(0, 16).replace('T', ' '))} UTC</li>${items.join('')}</ul>`
}

export function definitionList(rows: readonly (readonly string[])[]): string {
  const items = rows.map(
    ([key = '', value = '']) => `<dt>${escapeHtml(key)}</dt><dd>${escapeHtml(value)}</dd>`,
  )
  return `<dl>${items.join('')}</dl>`
}
