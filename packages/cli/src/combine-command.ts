import { VarveError } from 'varve'
import { clipWorkingSet, presentPages, type WorkingSet, withGapsMerged } from 'varve/working-sets'
import { integerOption, stringOption } from './arguments.js'
import type { Command, CommandContext } from './command.js'
import { openStore, storeOption } from './store.js'
import { count, humanPages } from './text.js'
import { keepWorkingSet, loadWorkingSet, placeHelp } from './working-set-place.js'

/**
 * A verb that makes one working set of several: they differ in their names, their words and the rule alone.
 */
export function combineCommand(verb: {
  readonly usage: string
  readonly options?: Command['options']
  readonly about: string
  /** Lines of help for `options`. */
  readonly optionsHelp?: string
  readonly examples: string
  readonly leastSets: number
  readonly combine: (sets: readonly WorkingSet[], context: CommandContext) => WorkingSet
}): Command {
  return {
    usage: `${verb.usage} --to SET [--merge-gaps PAGES] [--max-pages N]`,
    options: {
      ...storeOption,
      ...verb.options,
      to: { type: 'string' },
      'merge-gaps': { type: 'string' },
      'max-pages': { type: 'string' },
    },
    help: `
${verb.optionsHelp ?? ''}  --to SET            where to keep the result: REF:NAME (replaces one of that name) or a new file
  --merge-gaps PAGES  fill gaps of up to so many pages (32 is usual): fewer, larger reads
  --max-pages N       keep the N pages that were touched first

${verb.about}
${placeHelp}
All must be of the same image. A page of the result is written if any of the sets has it as written;
its time is the earliest.

Examples:
${verb.examples}`,
    run: async (context) => {
      const { positionals: texts, values } = context
      const to = stringOption(values, 'to')
      if (texts.length < verb.leastSets)
        throw new VarveError(
          'USAGE',
          `expected at least ${count(verb.leastSets, 'SET')}, got ${texts.length}`,
        )
      if (to === undefined) throw new VarveError('USAGE', 'give --to SET: where the result is kept')
      const store = await openStore(context)
      const sets: WorkingSet[] = []
      for (const text of texts) sets.push(await loadWorkingSet(store, text, context))
      let result = verb.combine(sets, context)
      const gaps = integerOption(values, 'merge-gaps')
      if (gaps !== undefined) result = withGapsMerged(result, gaps)
      const most = integerOption(values, 'max-pages')
      if (most !== undefined) result = clipWorkingSet(result, most)
      await keepWorkingSet(store, to, result, context)
      const { readOnly, written, groups } = result
      const pages = presentPages(result).pages
      if (context.json)
        return context.printJson({
          to,
          pages,
          readOnlyPages: readOnly.pages,
          writtenPages: written.pages,
          groups: groups.length,
          of: texts.map((text, i) => ({ set: text, pages: presentPages(sets[i] as WorkingSet).pages })),
        })
      context.print(
        `${to}  ${count(pages, 'page')} of ${count(sets.length, 'set')}, ${humanPages(pages)}: ${humanPages(readOnly.pages)} only read, ${humanPages(written.pages)} written`,
      )
    },
  }
}
