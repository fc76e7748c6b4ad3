export { scenarios } from './all-scenarios.js'
export type { GroundTruthRow } from './ground-truth.js'
export { runScenario, type Scenario, type ScenarioOutcome } from './runner/scenario.js'
export { withTmpfs } from './tmpfs.js'
