import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../errors.js'
import { assertSocketPath } from '../../firecracker/vmm-files.js'
import { killProcess } from '../../sys/pidfd.js'
import { type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import { writeWorkingSet } from '../../working-set/working-set-file.js'
import { type PageServerConfig, pageServerConfigToJson } from './config.js'
import type { GuardOrder } from './guard-main.js'
import { askPageServer, type PageServerClient, pageServerClient } from './page-server-client.js'
import { pageServerFiles } from './page-server-files.js'
import { readLogEnd } from './read-log.js'

/** A page server that serves one VM. It ends by itself when the VM ends. */
export interface PageServer extends PageServerClient {
  readonly identity: ProcessIdentity
  /** The first guard; where it dies, the server starts another. */
  readonly guard: ProcessIdentity
}

export interface StartPageServerOptions extends Omit<PageServerConfig, 'controlPath' | 'prefetch'> {
  /** The VM's directory: configuration, control socket and logs go into `page-server` below it. */
  readonly directory: string
  /** Its pages are installed from the handshake on, beside what is asked for. It must be of this image. */
  readonly workingSet?: WorkingSet | undefined
  readonly signal?: AbortSignal
}

/** Node and koffi start in some 150 ms; an emulated host needs seconds. */
const startTimeoutMs = 60_000

/** Starts a server and its guard, and waits until the one serves and the other watches. Errors leave neither behind. */
export async function startPageServer(options: StartPageServerOptions): Promise<PageServer> {
  const { signal, workingSet, ...rest } = options
  const { directory } = options
  const files = pageServerFiles(directory)
  makeOwnDirectory(files.own)
  if (workingSet !== undefined) await writeWorkingSet(files.workingSet, workingSet, { signal })
  const config: PageServerConfig = {
    ...rest,
    controlPath: assertSocketPath(files.control),
    prefetch: workingSet === undefined ? null : files.workingSet,
  }
  assertSocketPath(config.socketPath)
  writeFileSync(files.config, pageServerConfigToJson(config), { mode: 0o600 })
  const server = start('page-server-main.js', files.config, files.serverLog)
  let guard: Started | undefined
  try {
    const order: GuardOrder = { server: server.identity, vmm: config.vmm, directory }
    guard = start('guard-main.js', JSON.stringify(order), files.guardLog)
    await Promise.all([said(server, 'ready', signal), said(guard, 'watching', signal)])
    await askPageServer(config.controlPath, { op: 'guard', ...guard.identity }, { signal })
  } catch (error) {
    for (const started of [guard, server]) if (started) killProcess(started.identity, 'SIGKILL')
    throw error
  }
  return {
    identity: server.identity,
    guard: guard.identity,
    ...pageServerClient(directory, config.map.pages),
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
