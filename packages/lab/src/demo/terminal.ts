import type { DemoHeatMap, PageClassName } from './demo-result.js'

const glyphs: Readonly<Record<PageClassName, string>> = {
  written: '#',
  'read-only': '+',
  cold: '.',
  zero: ' ',
}
const colours: Readonly<Record<PageClassName, number>> = { written: 31, 'read-only': 33, cold: 36, zero: 0 }

/** The heat map as lines of text, in colour if the terminal takes it. */
export function terminalHeatMap(map: DemoHeatMap, colour: boolean): string {
  const paint = (name: PageClassName) =>
    colour && colours[name] ? `\u001b[${colours[name]}m${glyphs[name]}\u001b[0m` : glyphs[name]
  const lines: string[] = []
  for (let row = 0; row < map.rows; row++)
    lines.push(
      `  |${map.cells
        .slice(row * map.columns, (row + 1) * map.columns)
        .map(paint)
        .join('')}|`,
    )
  lines.push(
    `  one character is ${map.pagesPerCell} pages: ${Object.entries(glyphs)
      .map(([name, glyph]) => `"${glyph}" ${name}`)
      .join(', ')}`,
  )
  return lines.join('\n')
}
