import { dirtyLogScenarios } from './dirty-log.js'
import { layeredRestoreScenarios } from './layered-restore.js'
import { pageServerDeathScenario } from './page-server-death.js'
import type { Scenario } from './scenario.js'
import { workflowScenarios } from './workflows.js'

/** Every end-to-end claim; all of them hold natively and in the nested lab. */
export const scenarios: readonly Scenario[] = [
  ...workflowScenarios,
  ...layeredRestoreScenarios,
  pageServerDeathScenario,
  ...dirtyLogScenarios,
]
