import { unionOfWorkingSets } from 'varve/working-sets'
import { combineCommand } from '../../combine-command.js'

export const command = combineCommand({
  usage: 'usage: varve ws union SET...',
  leastSets: 1,
  combine: unionOfWorkingSets,
  about: 'Pages that at least one of the sets has. With one set, it copies it.',
  examples: `  varve ws union web:run1 web:run2 web:run3 --to web:all
  varve ws union web:run1 --to web:run1-wide --merge-gaps 32`,
})
