import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../errors.js'
import { assertSocketPath } from '../../firecracker/vmm-files.js'
import { killProcess } from '../../sys/pidfd.js'
import { type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import { type PageServerConfig, pageServerConfigToJson } from './config.js'
import type { CounterName } from './fault-loop.js'
import type { AfterRecorded } from './fault-orders.js'
import type { GuardOrder } from './guard-main.js'
import { pageServerFiles } from './page-server-files.js'
import { readLogEnd } from './read-log.js'
import { type FaultTrace, recordedFromJson } from './recorded-answer.js'

export type PageServerStats = Readonly<Record<CounterName, number>>

export interface RecordFaultsOptions {
  /** Costs a fault more for each page that is read first and written later. */
  readonly writes: boolean
  readonly signal?: AbortSignal | undefined
}

export interface RecordedOptions {
  readonly next?: AfterRecorded
  readonly signal?: AbortSignal | undefined
}

/** A page server that serves one VM. It ends by itself when the VM ends. */
export interface PageServer {
  readonly identity: ProcessIdentity
  /** The first guard; where it dies, the server starts another. */
  readonly guard: ProcessIdentity
  stats(options?: { readonly signal?: AbortSignal }): Promise<PageServerStats>
  /**
   * Begins to record which pages are touched first, and with `writes` which are written first, from now on; called before
   * the load, from the first fault on. Called again: another period, and what was recorded before is dropped. A page that is
   * there already is not touched for the first time; with `writes` it is protected, so that its next write is seen. Pages that
   * are zero cost a fault each while this records.
   */
  record(options: RecordFaultsOptions): Promise<void>
  /**
   * What was recorded since the begin of the period. `next`: go on with it (default), begin the next period at once, or
   * stop. A period that begins while the VM is paused begins with what a snapshot taken in that pause holds.
   */
  recorded(options?: RecordedOptions): Promise<FaultTrace>
}

export interface StartPageServerOptions extends Omit<PageServerConfig, 'controlPath'> {
  /** The VM's directory: configuration, control socket and logs go into `page-server` below it. */
  readonly directory: string
  readonly signal?: AbortSignal
}

/** Node and koffi start in some 150 ms; an emulated host needs seconds. */
const startTimeoutMs = 60_000
/** A control answer comes at once, a full trace within milliseconds. */
const maxAnswerBytes = 64 * 1024 * 1024
/** A server that is stopped by a debugger must not hold its owner for ever. */
const answerTimeoutMs = 30_000

/** Starts a server and its guard, and waits until the one serves and the other watches. Errors leave neither behind. */
export async function startPageServer(options: StartPageServerOptions): Promise<PageServer> {
  const { signal, ...rest } = options
  const { directory } = options
  const files = pageServerFiles(directory)
  makeOwnDirectory(files.own)
  const config = { ...rest, controlPath: assertSocketPath(files.control) }
  assertSocketPath(config.socketPath)
  writeFileSync(files.config, pageServerConfigToJson(config), { mode: 0o600 })
  const server = start('page-server-main.js', files.config, files.serverLog)
  let guard: Started | undefined
  try {
    const order: GuardOrder = { server: server.identity, vmm: config.vmm, directory }
    guard = start('guard-main.js', JSON.stringify(order), files.guardLog)
    await Promise.all([said(server, 'ready', signal), said(guard, 'watching', signal)])
    await ask(config.controlPath, { op: 'guard', ...guard.identity }, { signal })
  } catch (error) {
    for (const started of [guard, server]) if (started) killProcess(started.identity, 'SIGKILL')
    throw error
  }
  return {
    identity: server.identity,
    guard: guard.identity,
    stats: (ofCall) => ask(config.controlPath, { op: 'stats' }, ofCall) as Promise<PageServerStats>,
    record: async ({ writes, signal: ofCall }) => {
      await ask(config.controlPath, { op: 'record', writes }, { signal: ofCall })
    },
    recorded: async ({ next = 'go-on', signal: ofCall } = {}) =>
      recordedFromJson(
        await ask(config.controlPath, { op: 'recorded', next }, { signal: ofCall }),
        config.map.pages,
      ),
  }
}

function makeOwnDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new VarveError('ALREADY_EXISTS', `${path} exists: a page server was started for this VM before`, {
      remedy: 'launch another VM; its logs say what became of this one',
      cause,
    })
  }
}

interface Started {
  readonly child: ChildProcess
  readonly identity: ProcessIdentity
  readonly name: string
  readonly logPath: string
}

function start(script: string, argument: string, logPath: string): Started {
  const log = openSync(logPath, 'wx', 0o600)
  try {
    const child = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), argument], {
      detached: true,
      stdio: ['ignore', 'pipe', log],
    })
    child.unref()
    child.once('error', () => {})
    const identity = child.pid === undefined ? undefined : processIdentity(child.pid)
    if (identity === undefined) throw new VarveError('LAUNCH_FAILED', `cannot start ${script}`)
    return { child, identity, name: script.replace('-main.js', ''), logPath }
  } finally {
    closeSync(log)
  }
}

/** Waits for one word on standard output; the end of the process comes with the last words of its log. */
function said(
  { child, name, logPath }: Started,
  word: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const settle = (error?: VarveError) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      child.off('exit', onExit)
      // Read to here and no further: the process outlives this one.
      child.stdout?.destroy()
      if (error) reject(error)
      else resolve()
    }
    const onExit = () => {
      settle(new VarveError('LAUNCH_FAILED', `the ${name} ended at its start: ${lastWords(logPath)}`))
    }
    const onAbort = () =>
      settle(new VarveError('INTERRUPTED', `start of the ${name} was aborted`, { cause: signal?.reason }))
    const timer = setTimeout(
      () => settle(new VarveError('TIMEOUT', `the ${name} was not ready within ${startTimeoutMs} ms`)),
      startTimeoutMs,
    )
    signal?.addEventListener('abort', onAbort)
    child.once('exit', onExit)
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      text += part
      if (text.includes(`${word}\n`)) settle()
    })
    if (signal?.aborted) onAbort()
  })
}

/** Where the other of the two failed first, the machine's directory may be gone already, and the log with it. */
function lastWords(logPath: string): string {
  try {
    return readLogEnd(logPath).trim().slice(-2000)
  } catch (error) {
    return (error as Error).message
  }
}

function ask(
  path: string,
  request: { readonly op: string; readonly [name: string]: unknown },
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<unknown> {
  const { op } = request
  return new Promise((resolve, reject) => {
    const fail = (detail: string, cause?: unknown) =>
      settle(() => reject(new VarveError('PAGE_SERVER_PROTOCOL', `${op} on ${path}: ${detail}`, { cause })))
    const timer = setTimeout(
      () => settle(() => reject(new VarveError('TIMEOUT', `${op}: no answer in ${answerTimeoutMs} ms`))),
      answerTimeoutMs,
    )
    const onAbort = () =>
      settle(() => reject(new VarveError('INTERRUPTED', `${op} was aborted`, { cause: signal?.reason })))
    const settle = (how: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.destroy()
      how()
    }
    const socket = connect(path, () => socket.write(`${JSON.stringify(request)}\n`))
    const parts: string[] = []
    let length = 0
    socket.once('error', (cause) => fail(cause.message, cause))
    socket.once('close', () => fail('closed without an answer'))
    socket.setEncoding('utf8').on('data', (part: string) => {
      parts.push(part)
      length += part.length
      if (length > maxAnswerBytes) return fail(`answer exceeds ${maxAnswerBytes} bytes`)
      if (!part.includes('\n')) return
      const text = parts.join('')
      let answer: { error?: unknown } | null
      try {
        answer = JSON.parse(text.slice(0, text.indexOf('\n'))) as typeof answer
      } catch (cause) {
        return fail('the answer is not JSON', cause)
      }
      if (answer === null || answer.error !== undefined) fail(String(answer?.error))
      else settle(() => resolve(answer))
    })
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) onAbort()
  })
}
