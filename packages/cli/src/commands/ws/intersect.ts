import { intersectWorkingSets } from 'varve/working-sets'
import { combineCommand } from '../../combine-command.js'

export const command = combineCommand({
  usage: 'usage: varve ws intersect SET SET...',
  leastSets: 2,
  combine: intersectWorkingSets,
  about: 'Pages that all of the sets have.',
  examples: `  varve ws intersect web:run1 web:run2 --to web:both`,
})
