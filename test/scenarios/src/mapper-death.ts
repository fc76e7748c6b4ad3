import assert from 'node:assert/strict'
import { MicroConsole } from '@varve/lab'
import { isVarveError, type ProcessIdentity, restoreMachine } from 'varve'
import { isAlive } from 'varve/testing'
import { makeThreeLayers } from './layered-restore.js'
import { traces } from './mapper-traces.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** Pages of the base that no child has written. */
const still = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }

/** SIGKILL of the mapper at any time: before the load, while it follows the VMM, and while it maps. */
async function mapperDeath(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  const outcomes: Record<string, number> = {}
  const delays = [0, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 15]
  let message: string | undefined
  for (const [round, delayMs] of delays.entries()) {
    const outcome = await oneMapperDeath(context, two, round === 0 ? null : delayMs)
    message ??= outcome.message
    outcomes[outcome.what] = (outcomes[outcome.what] ?? 0) + 1
  }
  assert.ok((outcomes['killed with it'] ?? 0) >= 1)
  return { outcomes, message }
}

/** `delayMs`: after the moment right before the load; null: before it begins. */
async function oneMapperDeath(
  { binary, runtimeDirectory, store }: ScenarioContext,
  ref: string,
  delayMs: number | null,
): Promise<{ readonly what: 'killed with it' | 'too late'; readonly message?: string }> {
  let vmm: ProcessIdentity | undefined
  const restoring = restoreMachine(store, ref, {
    engine: 'mapped',
    binary,
    runtimeDirectory,
    beforeLoad: async (target) => {
      vmm = target.vmm
      const { tracer } = traces(vmm.pid)
      assert.notEqual(tracer, 0)
      const kill = () => process.kill(tracer, 'SIGKILL')
      if (delayMs === null) kill()
      else setTimeout(kill, delayMs)
    },
  })
  const restored = await restoring.then(
    (value) => value,
    (error: unknown) => error,
  )
  assert.ok(vmm)
  if (restored instanceof Error) {
    assert.ok(isVarveError(restored, 'INJECTION_FAILED'), restored.stack)
    assert.equal(isAlive(vmm), false)
    return { what: 'killed with it', message: restored.message }
  }
  const { machine } = restored as Awaited<typeof restoring>
  await using _machine = machine
  await using console = MicroConsole.attach(machine.paths)
  assert.equal(await console.verify(still.pattern, still.seed), 900)
  return { what: 'too late' }
}

export const mapperDeathScenario: Scenario = {
  name: 'mapper-death',
  nativeIsEnough: true,
  claim: 'a mapper that dies takes the VM with it, or comes too late to matter: none runs half-mapped',
  run: mapperDeath,
}
