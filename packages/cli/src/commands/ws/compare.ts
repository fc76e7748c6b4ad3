import { VarveError } from 'varve'
import {
  compareWorkingSets,
  drift,
  presentPages,
  type SetComparison,
  type WorkingSet,
} from 'varve/working-sets'
import type { Command } from '../../command.js'
import { openStore, storeOption } from '../../store.js'
import { sections, table } from '../../text.js'
import { loadWorkingSet, placeHelp } from '../../working-set-place.js'

export const command: Command = {
  usage: 'usage: varve ws compare A B [SET]... [--json]',
  options: { ...storeOption },
  help: `
  A, B  how well A would serve the run in which B was recorded: COVERAGE is the share of B that A
        brings; pages ONLY IN A are brought in vain; pages ONLY IN B remain to be faulted in
  SET   with more than two: how each differs from the one before it and from the first (drift)

JACCARD is the number of pages in both over the number of pages in either: 1 for equal sets.
${placeHelp}

Examples:
  varve ws compare monday:run1 monday:run2
  varve ws compare monday:run1 monday:run2 monday:run3 --json`,
  run: async (context) => {
    const texts = context.positionals
    if (texts.length < 2) throw new VarveError('USAGE', `expected A B [SET]..., got ${texts.length}`)
    const store = await openStore(context)
    const sets: WorkingSet[] = []
    for (const text of texts) sets.push(await loadWorkingSet(store, text, context))
    const first = sets[0] as WorkingSet
    const comparisons = sets.slice(1).map((set) => compareWorkingSets(first, set))
    const steps = drift(sets.map(presentPages))
    if (context.json)
      return context.printJson({
        comparisons: comparisons.map((it, i) => ({ a: texts[0], b: texts[i + 1], ...it })),
        drift: steps.map((step, i) => ({ set: texts[i + 1], ...step })),
      })
    const { present, readOnly, written, groups } = comparisons[0] as (typeof comparisons)[0]
    context.print(
      sets.length > 2
        ? table(
            [
              ['SET', 'PAGES', 'JACCARD TO PREVIOUS', 'TO FIRST', 'COVERED BY FIRST'],
              [texts[0] as string, String(presentPages(first).pages), '-', '-', '-'],
              ...steps.map((step, i) => [
                texts[i + 1] as string,
                String(step.pages),
                ratio(step.jaccardToPrevious),
                ratio(step.jaccardToFirst),
                percent((comparisons[i] as (typeof comparisons)[0]).present.coverage),
              ]),
            ],
            { right: [1, 2, 3, 4] },
          )
        : sections([
            table(
              [
                ['PAGES', 'A', 'B', 'COMMON', 'ONLY IN A', 'ONLY IN B', 'JACCARD', 'COVERAGE'],
                row('touched', present),
                row('read-only', readOnly),
                row('written', written),
              ],
              { right: [1, 2, 3, 4, 5, 6, 7] },
            ),
            groups.length > 0 &&
              table(
                [
                  ['GROUP OF B', 'PAGES', 'COVERAGE', 'JACCARD WITH THE SAME OF A'],
                  ...groups
                    .slice(0, mostGroupsShown)
                    .map((it) => [
                      String(it.group),
                      String(it.pages),
                      percent(it.coverage),
                      ratio(it.jaccard),
                    ]),
                ],
                { right: [0, 1, 2, 3] },
              ),
            groups.length > mostGroupsShown &&
              `and ${groups.length - mostGroupsShown} groups more; --json has all`,
          ]),
    )
  },
}

const mostGroupsShown = 20
const ratio = (value: number) => value.toFixed(3)
const percent = (value: number) => `${(100 * value).toFixed(1)} %`
const row = (name: string, it: SetComparison) => [
  name,
  String(it.aPages),
  String(it.bPages),
  String(it.commonPages),
  String(it.onlyAPages),
  String(it.onlyBPages),
  ratio(it.jaccard),
  percent(it.coverage),
]
