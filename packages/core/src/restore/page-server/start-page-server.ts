import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../errors.js'
import { assertSocketPath } from '../../firecracker/vmm-files.js'
import { killProcess } from '../../sys/pidfd.js'
import { type ProcessIdentity, processIdentity } from '../../sys/proc.js'
import { type PageServerConfig, pageServerConfigToJson } from './config.js'
import type { CounterName } from './fault-loop.js'
import type { GuardOrder } from './guard-main.js'

export type PageServerStats = Readonly<Record<CounterName, number>>

export interface PageServerTrace {
  /** Page numbers in the order of their faults. */
  readonly pages: readonly number[]
  /** The server kept no more than these. */
  readonly truncated: boolean
}

/** A page server that serves one VM. It ends by itself when the VM ends. */
export interface PageServer {
  readonly identity: ProcessIdentity
  readonly guard: ProcessIdentity
  stats(): Promise<PageServerStats>
  trace(): Promise<PageServerTrace>
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

/** Starts a server and its guard, and waits until the one serves and the other watches. Errors leave neither behind. */
export async function startPageServer(options: StartPageServerOptions): Promise<PageServer> {
  const { directory, signal, ...rest } = options
  const own = join(directory, 'page-server')
  mkdirSync(own, { mode: 0o700 })
  const config = { ...rest, controlPath: assertSocketPath(join(own, 'control.sock')) }
  assertSocketPath(config.socketPath)
  const configPath = join(own, 'config.json')
  writeFileSync(configPath, pageServerConfigToJson(config), { mode: 0o600 })
  const server = start('page-server-main.js', configPath, join(own, 'server.log'))
  let guard: Started | undefined
  try {
    const order: GuardOrder = { server: server.identity, vmm: config.vmm, directory }
    guard = start('guard-main.js', JSON.stringify(order), join(own, 'guard.log'))
    await Promise.all([said(server, 'ready', signal), said(guard, 'watching', signal)])
  } catch (error) {
    for (const started of [guard, server]) if (started) killProcess(started.identity, 'SIGKILL')
    throw error
  }
  return {
    identity: server.identity,
    guard: guard.identity,
    stats: () => ask(config.controlPath, 'stats') as Promise<PageServerStats>,
    trace: () => ask(config.controlPath, 'trace') as Promise<PageServerTrace>,
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
      const words = readFileSync(logPath, 'utf8').trim().slice(-2000)
      settle(new VarveError('LAUNCH_FAILED', `the ${name} ended at its start: ${words}`))
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

function ask(path: string, op: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (detail: string, cause?: unknown) =>
      reject(new VarveError('PAGE_SERVER_PROTOCOL', `${op} on ${path}: ${detail}`, { cause }))
    const socket = connect(path, () => socket.write(`${JSON.stringify({ op })}\n`))
    let text = ''
    socket.once('error', (cause) => fail(cause.message, cause))
    socket.once('close', () => fail('closed without an answer'))
    socket.setEncoding('utf8').on('data', (part: string) => {
      text += part
      const end = text.indexOf('\n')
      if (end < 0 && text.length <= maxAnswerBytes) return
      socket.destroy()
      if (end < 0) return fail(`answer exceeds ${maxAnswerBytes} bytes`)
      const answer = JSON.parse(text.slice(0, end)) as { error?: unknown }
      if (answer.error === undefined) resolve(answer)
      else fail(String(answer.error))
    })
  })
}
