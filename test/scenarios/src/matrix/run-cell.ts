import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { listMachines } from 'varve'
import type { ScenarioOutcome } from '../runner/scenario.js'

/** The result of one scenario on one binary. */
export interface MatrixCell {
  readonly status: 'ok' | 'failed' | 'not applicable'
  readonly ms: number
  /** Why it is not ok. */
  readonly reason: string | null
  readonly facts: Readonly<Record<string, unknown>> | null
}

const program = fileURLToPath(new URL('../../bin/run-scenarios.js', import.meta.url))

/** Time from SIGTERM to SIGKILL, in which a scenario ends its VMs and removes its files. */
const graceMs = 5000
const maxOutputBytes = 64 * 2 ** 20

/**
 * Runs one scenario with one Firecracker in a process of its own, with a folder of its own that is gone after
 * it. It takes `limitMs` at most, and ends early by `signal`; both are failures. Never rejects.
 */
export async function runCell(
  scenario: string,
  binaryPath: string,
  { limitMs, signal }: { readonly limitMs: number; readonly signal: AbortSignal },
): Promise<MatrixCell> {
  const start = performance.now()
  // A short name: below it is the path of a socket, which has 107 bytes at most.
  const folder = mkdtempSync(join(process.env.TMPDIR ?? '/var/tmp', 'vmx-'))
  const failed = (reason: string): MatrixCell => ({
    status: 'failed',
    ms: performance.now() - start,
    reason,
    facts: null,
  })
  try {
    const child = spawn(process.execPath, [program, '--json', scenario], {
      env: { ...process.env, FIRECRACKER: binaryPath, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'pipe'],
      // In a process group of its own, so that a Ctrl-C comes by `signal` alone.
      detached: true,
    })
    const ended = await untilEnd(child, AbortSignal.any([AbortSignal.timeout(limitMs), signal]))
    if (signal.aborted) return failed('interrupted')
    if (ended.stopped) return failed(`it did not end within ${Math.round(limitMs / 1000)} s`)
    return cellOf(ended.output) ?? failed(ended.words.trim() || `no outcome; exit status ${ended.status}`)
  } finally {
    endMachines(folder)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A scenario that had to be killed has left its VMs: listing them ends those whose owner is gone. */
function endMachines(folder: string): void {
  for (const scenario of readdirSync(folder)) {
    const runtimeDirectory = join(folder, scenario, 'run')
    if (existsSync(runtimeDirectory)) listMachines(runtimeDirectory)
  }
}

interface Ended {
  readonly status: number | string
  readonly output: string
  readonly words: string
  readonly stopped: boolean
}

async function untilEnd(child: ChildProcess, stop: AbortSignal): Promise<Ended> {
  let [output, words, stopped] = ['', '', false]
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text
    if (output.length > maxOutputBytes) child.kill('SIGKILL')
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-4000)
  })
  let killing: NodeJS.Timeout | undefined
  const end = () => {
    stopped = true
    child.kill('SIGTERM')
    killing = setTimeout(() => child.kill('SIGKILL'), graceMs)
  }
  stop.addEventListener('abort', end)
  if (stop.aborted) end()
  // Not `close`: a page server of the scenario may hold its standard error for some seconds more.
  const allRead = new Promise<void>((resolve) => child.stdout?.once('end', resolve))
  const status = await new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, by) => void allRead.then(() => resolve(code ?? by ?? 'unknown')))
  })
  clearTimeout(killing)
  stop.removeEventListener('abort', end)
  child.stderr?.destroy()
  return { status, output, words, stopped }
}

function cellOf(output: string): MatrixCell | undefined {
  try {
    const [outcome] = JSON.parse(output) as [ScenarioOutcome?]
    if (outcome === undefined) return undefined
    const { ok, ms, facts = null, error, notApplicable } = outcome
    if (notApplicable !== undefined) return { status: 'not applicable', ms, reason: notApplicable, facts }
    return { status: ok ? 'ok' : 'failed', ms, reason: error ?? null, facts }
  } catch {
    return undefined
  }
}
