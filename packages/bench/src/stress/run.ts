import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

/** Processes of one run, their children and the children's children have this in their environment. */
export const markName = 'VARVE_STRESS_RUN'

/** Where everything of one run lies. */
export function runPaths(directory: string) {
  const within = (name: string) => join(directory, name)
  return {
    directory,
    runtime: within('run'),
    store: within('store'),
    /** Archives that workers export and import. */
    exchange: within('exchange'),
    /**
     * One file for each detached VM that any worker may adopt, and one for each that a worker has adopted.
     */
    detached: within('detached'),
    adopted: within('adopted'),
    /** One file for each living worker; other workers may kill these. */
    workers: within('workers'),
    /** $TMPDIR of the workers. */
    temporary: within('tmp'),
    logs: within('logs'),
    ledger: within('logs/ledger.jsonl'),
    killLock: within('kill.lock'),
    killTimes: within('kill-times.json'),
  }
}

export type RunPaths = ReturnType<typeof runPaths>

export function makeRun(directory: string): RunPaths {
  const paths = runPaths(directory)
  for (const name of ['exchange', 'detached', 'adopted', 'workers', 'temporary', 'logs'] as const)
    mkdirSync(paths[name], { mode: 0o700 })
  return paths
}

/**
 * The environment that processes of a run inherit. A page server without VMs ends soon, so that starts and
 * ends are tested too.
 */
export const runEnvironment = (paths: RunPaths): NodeJS.ProcessEnv => ({
  ...process.env,
  [markName]: paths.directory,
  VARVE_RUNTIME_DIR: paths.runtime,
  VARVE_STORE: paths.store,
  TMPDIR: paths.temporary,
  VARVE_PAGE_SERVER_LINGER_MS: '1500',
})
