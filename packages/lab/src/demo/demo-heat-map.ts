import { heatMap, type PageClass, type PageClasses } from 'varve/working-sets'
import type { DemoHeatMap } from './demo-result.js'

const columns = 64
const rows = 16

/** Busier classes first: one written page in a cell of cold ones is what the picture is for. */
const byInterest: readonly PageClass[] = ['written', 'read-only', 'cold', 'zero']

export function demoHeatMap(classes: PageClasses): DemoHeatMap {
  const { counts } = heatMap(classes, { columns, rows })
  return {
    columns,
    rows,
    pagesPerCell: classes.pages / (columns * rows),
    cells: Array.from(
      { length: columns * rows },
      (_, cell) => byInterest.find((name) => (counts[name][cell] ?? 0) > 0) ?? 'zero',
    ),
  }
}
