import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, lstatSync, mkdirSync, openSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { abortError } from '../../abort-error.js'
import { isVarveError, VarveError } from '../../errors.js'
import { assertSocketPath } from '../../firecracker/vmm-files.js'
import { lock } from '../../sys/file-lock.js'
import { killProcess } from '../../sys/pidfd.js'
import { type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import type { ServingProcesses } from './control.js'
import type { GuardOrder } from './guard-main.js'
import { askPageServer, isGone } from './page-server-client.js'
import { pageServerRoot } from './page-server-files.js'
import type { PageServerOrder } from './page-server-main.js'
import { readLogEnd } from './read-log.js'

/** Node and koffi start in some 150 ms; an emulated host needs seconds. */
const startTimeoutMs = 60_000

/** A server that serves nobody ends after so long: clones come in bursts, and two idle processes take some 100 MB. */
const defaultLingerMs = 10_000

/**
 * The page server of a runtime directory; where none is there, it is started, with its guard, and both are ready when this
 * resolves. Errors: LAUNCH_FAILED with the last words of who did not start; TIMEOUT; INTERRUPTED; PATH_INVALID.
 */
export async function ensurePageServer(
  runtime: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ServingProcesses> {
  const root = pageServerRoot(runtime)
  const there = await present(root.control, signal)
  if (there !== undefined) return there
  for (const directory of [root.own, root.vms]) makePrivateDirectory(directory)
  assertSocketPath(root.control)
  await using _starting = await lock(root.startLock, { signal })
  const deadline = performance.now() + startTimeoutMs
  for (;;) {
    const since = await present(root.control, signal)
    if (since !== undefined) return since
    try {
      return await start(runtime, signal)
    } catch (error) {
      // A guard may be taking over: it has the lock, and will listen in a moment.
      const taken = isVarveError(error, 'LAUNCH_FAILED') && error.message.includes('another process serves')
      if (!taken || performance.now() > deadline) throw error
      await sleep(20)
    }
  }
}

async function present(
  control: string,
  signal: AbortSignal | undefined,
): Promise<ServingProcesses | undefined> {
  try {
    return (await askPageServer(control, { op: 'processes' }, { signal })) as ServingProcesses
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

/**
 * Has another process serve the VMs of a runtime directory, of this version of Varve, without the guests noticing more than a pause:
 * it starts first, then the present one leaves, then it takes over. Where none is there, one is started. Errors: as
 * `ensurePageServer`; RECORDER_UNRELIABLE while a recording is on, MACHINE_STATE while a VM is being taken on; then nothing has changed.
 */
export async function handOverPageServer(
  runtime: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ServingProcesses> {
  const root = pageServerRoot(runtime)
  const { server: after } = await ensurePageServer(runtime, { signal })
  await using _starting = await lock(root.startLock, { signal })
  return start(runtime, signal, after)
}

/** `after`: the server that shall leave once the new one and its guard stand by. */
async function start(
  runtime: string,
  signal: AbortSignal | undefined,
  after?: ProcessIdentity,
): Promise<ServingProcesses> {
  const root = pageServerRoot(runtime)
  const wished = Number(process.env.VARVE_PAGE_SERVER_LINGER_MS)
  const order = { runtime: resolve(runtime), lingerMs: wished > 0 ? wished : defaultLingerMs }
  const serving: PageServerOrder = after === undefined ? order : { ...order, after }
  const server = startProcess('page-server-main.js', serving, root.serverLog)
  let guard: Started | undefined
  try {
    const guarding: GuardOrder = { ...order, server: server.identity }
    guard = startProcess('guard-main.js', guarding, root.guardLog)
    if (after !== undefined) {
      await Promise.all([said(server, 'standing by', signal), said(guard, 'watching', signal)])
      await askPageServer(root.control, { op: 'leave', ...server.identity }, { signal })
      // There is no way back any more.
      await said(server, 'ready', undefined)
    } else await Promise.all([said(server, 'ready', signal), said(guard, 'watching', signal)])
    await askPageServer(root.control, { op: 'guard', ...guard.identity }, {})
  } catch (error) {
    for (const started of [guard, server]) if (started) killProcess(started.identity, 'SIGKILL')
    throw error
  } finally {
    for (const started of [guard, server]) started?.child.stdout?.destroy()
  }
  return { server: server.identity, guard: guard.identity }
}

/** In a shared temporary folder somebody else could have made it first. */
function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const { uid, mode } = lstatSync(path)
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0)
    throw new VarveError('PATH_INVALID', `${path} is not this user’s alone (0700)`, {
      remedy: 'remove it, chmod 700 it, or set $VARVE_RUNTIME_DIR',
    })
}

interface Started {
  readonly child: ChildProcess
  /** What it has said on its standard output until now. */
  heard: string
  readonly identity: ProcessIdentity
  readonly name: string
  readonly logPath: string
}

function startProcess(script: string, order: object, logPath: string): Started {
  // Anew for each: what is in it is the last words of this one.
  const log = openSync(logPath, 'w', 0o600)
  try {
    const path = fileURLToPath(new URL(script, import.meta.url))
    const child = spawn(process.execPath, [path, JSON.stringify(order)], {
      detached: true,
      // It outlives whoever started it, and must keep nobody's directory in use.
      cwd: '/',
      stdio: ['ignore', 'pipe', log],
    })
    child.unref()
    child.once('error', () => {})
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

/** Waits for one word on standard output; the end of the process comes with the last words of its log. */
function said(started: Started, word: string, signal: AbortSignal | undefined): Promise<void> {
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
    const onExit = () =>
      settle(new VarveError('LAUNCH_FAILED', `the ${name} ended at its start: ${lastWords(logPath)}`))
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
