import type { ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { readLogEnd } from './read-log.js'
import { spawnHelper } from './spawn-helper.js'

/** Node and koffi start in some 150 ms; an emulated host needs seconds. */
export const startTimeoutMs = 60_000

/** A helper process, from its start until it is ready. */
export interface Started {
  readonly child: ChildProcess
  /** What it has said on its standard output until now. */
  heard: string
  readonly identity: ProcessIdentity
  readonly name: string
  readonly logPath: string
}

/** Starts a script of `folder`. */
export function startProcess(folder: string, script: string, order: object, logPath: string): Started {
  // Each process gets an empty log, so that it holds only the last words of this one.
  const log = openSync(logPath, 'w', 0o600)
  try {
    const child = spawnHelper(join(folder, script), [JSON.stringify(order)], {
      stdio: ['ignore', 'pipe', log],
    })
    const identity = child.pid === undefined ? undefined : processIdentity(child.pid)
    if (identity === undefined) throw new VarveError('LAUNCH_FAILED', `cannot start ${script}`)
    const started = { child, identity, name: script.replace('-main.js', ''), logPath, heard: '' }
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      started.heard += part
    })
    return started
  } finally {
    closeSync(log)
  }
}

/**
 * Waits for one word on standard output. Errors: LAUNCH_FAILED if the process ends before that, with the last
 * words of its log and its exit status in `details.status`; TIMEOUT; as `abortError`.
 */
export function said(started: Started, word: string, signal: AbortSignal | undefined): Promise<void> {
  const { child, name, logPath } = started
  return new Promise((done, reject) => {
    const settle = (error?: VarveError) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      child.off('exit', onExit)
      child.stdout?.off('data', onData)
      if (error) reject(error)
      else done()
    }
    const onData = () => started.heard.includes(`${word}\n`) && settle()
    const onExit = (status: number | null) =>
      settle(
        new VarveError('LAUNCH_FAILED', `the ${name} ended at its start: ${lastWords(logPath)}`, {
          details: { status },
        }),
      )
    const onAbort = () => settle(abortError(signal, `the start of the ${name}`))
    const timer = setTimeout(
      () => settle(new VarveError('TIMEOUT', `the ${name} was not ready within ${startTimeoutMs} ms`)),
      startTimeoutMs,
    )
    signal?.addEventListener('abort', onAbort)
    child.once('exit', onExit)
    child.stdout?.on('data', onData)
    if (signal?.aborted) onAbort()
    else onData()
  })
}

/** The runtime directory may be gone already, and the log with it. */
function lastWords(logPath: string): string {
  try {
    return readLogEnd(logPath).trim().slice(-2000)
  } catch (error) {
    return (error as Error).message
  }
}
