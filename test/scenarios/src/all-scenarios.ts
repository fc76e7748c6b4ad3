import { baseByDiffScenario } from './base-by-diff.js'
import { chainDepthScenario } from './chain-depth.js'
import { coarseHolesScenario } from './coarse-holes.js'
import { diffNoSpaceScenario } from './diff-no-space.js'
import { dirtyLogScenarios } from './dirty-log.js'
import { furtherDiffScenarios } from './further-diff.js'
import { generationsScenarios } from './generations.js'
import { groundTruthScenario } from './ground-truth.js'
import { jailedScenario } from './jailed.js'
import { killedRestoreScenarios } from './killed-restore.js'
import { layeredMemoryScenario } from './layered-memory.js'
import { layeredRestoreScenarios } from './layered-restore.js'
import { liveClonesScenario } from './live-clones.js'
import { livePointInTimeScenario } from './live-point-in-time.js'
import { liveSameBytesScenario } from './live-same-bytes.js'
import { mappedEngineScenarios } from './mapped-engine.js'
import { mappedPrefaultScenario } from './mapped-prefault.js'
import { mapperDeathScenario } from './mapper-death.js'
import { pageServerDeathScenario } from './page-server-death.js'
import { pageServerGraduationScenario } from './page-server-graduation.js'
import { pageServerManyScenario } from './page-server-many.js'
import { pageServerRecoveryScenario } from './page-server-recovery.js'
import { prefetchScenario } from './prefetch.js'
import { restoreUsageScenario } from './restore-usage.js'
import type { Scenario } from './runner/scenario.js'
import { storeNoSpaceScenario } from './store-no-space.js'
import { twoRegionsScenario } from './two-regions.js'
import { uffdPromiseScenarios } from './uffd-promises.js'
import { workflowScenarios } from './workflows.js'
import { workingSetScenario } from './working-set.js'
import { writePeriodsScenario } from './write-periods.js'
import { zeroingChildScenario } from './zeroing-child.js'

/** Every end-to-end claim; all of them hold natively and in the nested lab. */
export const scenarios: readonly Scenario[] = [
  ...workflowScenarios,
  ...layeredRestoreScenarios,
  zeroingChildScenario,
  ...generationsScenarios,
  ...furtherDiffScenarios,
  liveSameBytesScenario,
  livePointInTimeScenario,
  liveClonesScenario,
  workingSetScenario,
  groundTruthScenario,
  layeredMemoryScenario,
  ...mappedEngineScenarios,
  mappedPrefaultScenario,
  mapperDeathScenario,
  pageServerDeathScenario,
  ...killedRestoreScenarios,
  pageServerGraduationScenario,
  pageServerManyScenario,
  pageServerRecoveryScenario,
  twoRegionsScenario,
  jailedScenario,
  ...dirtyLogScenarios,
  diffNoSpaceScenario,
  storeNoSpaceScenario,
  coarseHolesScenario,
  baseByDiffScenario,
  chainDepthScenario,
  ...uffdPromiseScenarios,
  writePeriodsScenario,
  prefetchScenario,
  restoreUsageScenario,
]
