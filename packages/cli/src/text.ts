import { pageSizeBytes } from 'varve'

/** Bytes for people: 1,536 → "1.5 KiB". */
export function humanBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** Guest pages as the bytes they are. */
export const humanPages = (pages: number): string => humanBytes(pages * pageSizeBytes)

/** How long ago: "5 s", "3 min", "7 h", "12 d". */
export function age(createdAt: string, now: number = Date.now()): string {
  const seconds = Math.max(0, (now - Date.parse(createdAt)) / 1000)
  if (seconds < 120) return `${seconds.toFixed(0)} s`
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(0)} h`
  return `${(seconds / 86_400).toFixed(0)} d`
}

/** "1 layer", "2 layers". */
export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`

/**
 * Enough of an id to name it: that two of the 65,536 snapshots a store can hold share 12 digits
 * happens to 1 in 131,072 stores.
 */
export const shortId = (id: string): string => id.slice(0, 12)

/** A cell of a table stays within its column. */
export const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, width - 1)}…`

/**
 * Text of a file may hold terminal escapes: everything that is not plainly visible is shown by its number.
 */
export const printable = (text: string): string =>
  text.replace(/[\p{C}\u2028\u2029]/gu, (it) => `\\u{${it.codePointAt(0)?.toString(16)}}`)

/** The same of text whose lines stay lines: messages can quote what a guest, an image or a tool says. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n')

/** Columns two spaces apart, left-aligned but for those in `right` (by number). */
export function table(
  rows: readonly (readonly string[])[],
  { right = [] }: { readonly right?: readonly number[] } = {},
): string {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length)
    })
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0
          return right.includes(column) ? cell.padStart(width) : cell.padEnd(width)
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Blocks of text with a blank line between them; what is not there is left out. */
export const sections = (blocks: readonly (string | false | undefined | null)[]): string =>
  blocks.filter((it) => typeof it === 'string').join('\n\n')
