import type { PrefaultStep } from '../../../mapper/plan.js'
import type { PageSet } from '../../../memory/page-set.js'
import { intersect } from '../../../memory/page-set-algebra.js'
import { touchOrder, type WorkingSet } from '../../../working-set/working-set.js'
import { withNeighbours } from '../../page-cache/with-neighbours.js'

/** A huge page's. */
const blockPages = 512
/** A working set in about the order in which it should come, in few sets; every page once. */
export function prefaultOrder(workingSet: WorkingSet): readonly PageSet[] {
  return withNeighbours(touchOrder(workingSet), blockPages)
}

/** The same by class. */
export function prefaultSteps(
  { readOnly, written }: WorkingSet,
  order: readonly PageSet[],
): readonly PrefaultStep[] {
  return order
    .map((set) => ({ readOnly: intersect(set, readOnly), written: intersect(set, written) }))
    .filter((step) => step.readOnly.pages + step.written.pages > 0)
}
