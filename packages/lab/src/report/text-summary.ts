import type { ExperimentRows } from '../experiments/rows.js'
import { findingsOf, intervalText } from './findings.js'
import { summarise } from './summarise.js'
import { measureText } from './units.js'

/** The short form for a terminal: medians and ratios by place, and what lost. */
export function textSummary(rows: ExperimentRows): string {
  const summary = summarise(rows)
  const { measure } = summary
  const blocks = summary.places.map(({ name, lines }) =>
    [
      ...(name === '' ? [] : [name]),
      ...lines
        .filter(({ reference }) => !reference)
        .map((line) => {
          const text = [
            `  ${line.name.padEnd(22)}`,
            measureText(measure, line.measures[measure]?.median).padStart(10),
            line.baseline
              ? 'the baseline'
              : line.ratio === null
                ? ''
                : `${intervalText(line.ratio)}${line.ratio.shown === null ? '' : `, ${line.ratio.shown}`}`,
            line.wrong > 0 ? `${line.wrong} of ${line.rounds} wrong` : '',
          ]
          return text.filter((it) => it !== '').join('  ')
        }),
    ].join('\n'),
  )
  const best = findingsOf(summary).flatMap((it) =>
    it.best === null ? [] : [`${it.place}: ${it.best}`.replace(/^: /, '')],
  )
  return printable([...blocks, best.join('\n')].filter((it) => it !== '').join('\n\n'))
}

/** A rows file may hold terminal escapes. */
const printable = (text: string) =>
  text.replace(/[^\P{C}\n]/gu, (it) => `\\u{${it.codePointAt(0)?.toString(16)}}`)
