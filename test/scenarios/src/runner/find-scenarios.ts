import { VarveError } from 'varve'
import { scenarios } from '../all-scenarios.js'
import type { Scenario } from './scenario.js'

/** The scenarios of these names, in their order; all of them for no names. Errors: USAGE. */
export function findScenarios(names: readonly string[]): readonly Scenario[] {
  if (names.length === 0) return scenarios
  return names.map((name) => {
    const found = scenarios.find((it) => it.name === name)
    if (found === undefined)
      throw new VarveError('USAGE', `no scenario named ${name}`, { remedy: 'list them: --list' })
    return found
  })
}

export const scenarioList = () => scenarios.map(({ name, claim }) => `${name.padEnd(22)} ${claim}`).join('\n')
