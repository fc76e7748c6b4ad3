import { VarveError } from 'varve'
import { commonOfWorkingSets } from 'varve/working-sets'
import { integerOption } from '../../arguments.js'
import { combineCommand } from '../../combine-command.js'

export const command = combineCommand({
  usage: 'usage: varve ws common SET SET... [--at-least K]',
  options: { 'at-least': { type: 'string' } },
  leastSets: 2,
  combine: (sets, { values }) => {
    const least = integerOption(values, 'at-least') ?? Math.ceil(sets.length / 2)
    if (least < 1 || least > sets.length)
      throw new VarveError('USAGE', `--at-least ${least}: there are ${sets.length} sets`)
    return commonOfWorkingSets(sets, least)
  },
  optionsHelp: '  --at-least K        how many sets must have a page; default half of them\n',
  about: 'Pages that several of the sets have: those that most runs need, not those of a single run.',
  examples: `  varve ws common web:run1 web:run2 web:run3 --at-least 2 --to web:stable`,
})
