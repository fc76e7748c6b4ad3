import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'

export interface SpawnHelperOptions {
  /** Standard input, output and error. */
  readonly stdio: StdioOptions
  /**
   * Working directory. Default `/`: a helper that outlives its caller must not keep
   * the caller's directory in use.
   */
  readonly directory?: string
}

/**
 * Starts a script of this package as a process of its own: in its own session, because Ctrl-C in the terminal
 * is for the caller alone. It does not keep the caller alive. If it cannot be started, it has no `pid`; why
 * is told only to listeners of 'error'.
 */
export function spawnHelper(
  script: string,
  args: readonly string[],
  { stdio, directory = '/' }: SpawnHelperOptions,
): ChildProcess {
  // The Node that this process runs, even if its file was removed or replaced.
  const child = spawn('/proc/self/exe', [script, ...args], {
    argv0: process.argv0,
    detached: true,
    cwd: directory,
    stdio,
  })
  child.once('error', () => {})
  child.unref()
  return child
}
