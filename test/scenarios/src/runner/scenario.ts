import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { MicroVmPlace } from '@varve/lab/testing'
import { type FirecrackerBinary, findFirecracker, listMachines, openLocalStore, VarveError } from 'varve'
import { onProcessEnd } from 'varve/testing'

/**
 * Where a scenario works. Everything that it makes lies under `directory`, which is removed after it. The
 * store is empty at the start.
 */
export interface ScenarioContext extends MicroVmPlace {
  readonly directory: string
  readonly lab: 'native' | 'nested'
  path(name: string): string
}

/** Figures worth keeping: counts, sets, times. Must survive JSON. */
export type Facts = Readonly<Record<string, unknown>>

/**
 * One end-to-end claim about real VMs. The same scenarios run natively and in the nested lab. `run` throws if
 * the claim does not hold; what it returns is shown, not judged.
 */
export interface Scenario {
  readonly name: string
  /** The claim, as a sentence. */
  readonly claim: string
  readonly run: (context: ScenarioContext) => Promise<Facts>
  /** Why the claim says nothing about this Firecracker, if so; it is not run then. */
  readonly notApplicable?: (binary: FirecrackerBinary) => string | null
  /**
   * It takes long if all is emulated, and shows nothing of the kind of KVM: once
   * it ran natively, that is enough.
   */
  readonly nativeIsEnough?: true
}

export interface ScenarioOutcome {
  readonly name: string
  readonly claim: string
  /** It was run, and holds. */
  readonly ok: boolean
  readonly ms: number
  readonly facts?: Facts
  /** It was not run: why. */
  readonly notApplicable?: string
  readonly error?: string
}

/** Runs one scenario in a scratch directory of its own; a VM left behind is a failure. */
export async function runScenario(
  scenario: Scenario,
  lab: ScenarioContext['lab'] = 'native',
): Promise<ScenarioOutcome> {
  const { name, claim } = scenario
  const start = performance.now()
  // Not os.tmpdir(): on many hosts /tmp is a tmpfs, whose pages are always in the page cache.
  const directory = mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'varve-scenario-'))
  const runtimeDirectory = join(directory, 'run')
  const remove = () => {
    // A scenario that kills processes may be ended before it has listed what they left.
    if (existsSync(runtimeDirectory)) listMachines(runtimeDirectory)
    rmSync(directory, { recursive: true, force: true })
  }
  const takeBack = onProcessEnd(remove)
  try {
    const binary = await findFirecracker()
    const notApplicable = scenario.notApplicable?.(binary) ?? null
    if (notApplicable !== null)
      return { name, claim, ok: false, ms: performance.now() - start, notApplicable }
    mkdirSync(join(directory, 'files'), { mode: 0o700 })
    const store = await openLocalStore(join(directory, 'store'), { create: true })
    const path = (file: string) => join(directory, 'files', file)
    const facts = await scenario.run({
      directory: join(directory, 'files'),
      runtimeDirectory,
      binary,
      store,
      lab,
      path,
    })
    const left = listMachines(runtimeDirectory).map(({ record }) => record.id)
    if (left.length > 0)
      throw new VarveError('LAB_FAILED', `${name} left machines behind: ${left.join(', ')}`)
    return { name, claim, ok: true, ms: performance.now() - start, facts }
  } catch (error) {
    return { name, claim, ok: false, ms: performance.now() - start, error: describe(error) }
  } finally {
    takeBack()
    remove()
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by ${describe(error.cause)}`
  return `${error instanceof VarveError ? `[${error.code}] ` : ''}${error.stack ?? error.message}${cause}`
}
