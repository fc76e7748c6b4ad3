import { type ChildProcess, spawn } from 'node:child_process'
import {
  chownSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  watch,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { VarveError } from '../errors.js'
import { makeFifo } from '../sys/fifo.js'
import { killProcess } from '../sys/pidfd.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { type ApiClient, connectApi } from './api-client.js'
import type { FirecrackerBinary } from './binary.js'
import { assertSocketPath, hostFiles, jailFiles, type VmmFiles } from './vmm-files.js'

/** Options of Firecracker's jailer; see its `--help`. Needs root. */
export interface JailerOptions {
  /** Jailer binary; default: the one beside Firecracker. */
  readonly path?: string
  readonly uid: number
  readonly gid: number
  /** Default /srv/jailer; the jail is `<chrootBaseDir>/<binary name>/<id>/root`. */
  readonly chrootBaseDir?: string
  readonly netns?: string
  readonly cgroupVersion?: 1 | 2
  readonly cgroups?: readonly string[]
  readonly resourceLimits?: readonly string[]
}

export interface LaunchOptions {
  readonly binary: FirecrackerBinary
  /** Machine id: letters, digits, '-'. Shown in Firecracker's log. */
  readonly id: string
  /** Private directory of the VM, 0700, made by the caller: working directory, sockets, logs. */
  readonly directory: string
  readonly jailer?: JailerOptions
  readonly extraArguments?: readonly string[]
  readonly signal?: AbortSignal
  /** How long the API socket may take to answer. Usually 10 ms; a loaded TCG host needs seconds. Default 30,000. */
  readonly startTimeoutMs?: number
}

export interface VmmExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** Files of one VM, by their fixed names in its directory. */
export interface VmmPaths {
  readonly directory: string
  readonly apiSocket: string
  /** FIFO that is the guest's serial input. Firecracker reads its stdin only from a FIFO or a terminal. */
  readonly consoleInput: string
  /** Everything the guest wrote to its serial port. */
  readonly consoleOutput: string
  readonly standardError: string
  readonly log: string
}

export interface VmmProcess {
  readonly identity: ProcessIdentity
  readonly paths: VmmPaths
  readonly files: VmmFiles
  /** Root of the jail, where there is one. */
  readonly jailRoot: string | undefined
  readonly exited: Promise<VmmExit>
  /** Set once the process has ended. */
  readonly exit: VmmExit | undefined
  /** SIGKILL through a pidfd; resolves when the process is gone. Safe to repeat. */
  kill(): Promise<VmmExit>
  /** Lets this process end while the VMM goes on. */
  unref(): void
  /** The last lines of stderr and of Firecracker's own log, for error messages. */
  lastWords(): string
}

export function vmmPaths(directory: string, jailRoot?: string): VmmPaths {
  const local = jailRoot ?? directory
  return {
    directory,
    apiSocket: assertSocketPath(join(local, 'api.sock')),
    consoleInput: join(directory, 'console.in'),
    consoleOutput: join(directory, 'console.log'),
    standardError: join(directory, 'stderr.log'),
    log: join(local, 'firecracker.log'),
  }
}

/** Starts Firecracker in `directory` and waits until its API answers. On any failure nothing is left running. */
export async function launchVmm(options: LaunchOptions): Promise<{ process: VmmProcess; api: ApiClient }> {
  if (options.signal?.aborted)
    throw new VarveError('INTERRUPTED', 'launch was aborted', { cause: options.signal.reason })
  const jailRoot = options.jailer === undefined ? undefined : makeJailRoot(options)
  const paths = vmmPaths(options.directory, jailRoot)
  const files =
    options.jailer === undefined || jailRoot === undefined
      ? hostFiles(options.directory)
      : jailFiles(jailRoot, options.jailer)
  const { file, args } = commandLine(options)
  const child = spawnVmm(file, args, paths, options)
  const vmm = childProcess(child, paths, files, jailRoot)
  try {
    await vmm.spawned
    return { process: vmm.process, api: await firstAnswer(vmm.process, options) }
  } catch (error) {
    await vmm.process.kill()
    if (jailRoot !== undefined) rmSync(dirname(jailRoot), { recursive: true, force: true })
    throw error
  }
}

/** A VMM that another process started: found again by its identity, watched by its pidfd. */
export function adoptVmm(
  identity: ProcessIdentity,
  directory: string,
  jail?: { root: string; uid: number; gid: number },
): VmmProcess {
  const paths = vmmPaths(directory, jail?.root)
  let exit: VmmExit | undefined
  let timer: NodeJS.Timeout | undefined
  const exited = new Promise<VmmExit>((resolve) => {
    const look = () => {
      if (isAlive(identity)) return
      clearInterval(timer)
      // Only the parent learns how a process ended.
      exit = { code: null, signal: null }
      resolve(exit)
    }
    timer = setInterval(look, adoptedPollMs)
    timer.unref()
    look()
  })
  return {
    identity,
    paths,
    files: jail === undefined ? hostFiles(directory) : jailFiles(jail.root, jail),
    jailRoot: jail?.root,
    exited,
    get exit() {
      return exit
    },
    kill: () => {
      timer?.ref()
      killProcess(identity, 'SIGKILL')
      return exited
    },
    unref: () => {},
    lastWords: () => lastWords(paths),
  }
}

/** Adopted processes are not our children, so their end is polled; 5 ms is far below what a person notices. */
const adoptedPollMs = 5

function commandLine(options: LaunchOptions): { file: string; args: string[] } {
  const { binary, id, jailer, extraArguments = [] } = options
  // Relative to the working directory, which is the VM's own (or the jail's root): clones then never collide.
  const vmm = [
    '--id',
    id,
    '--api-sock',
    'api.sock',
    '--log-path',
    'firecracker.log',
    '--level',
    'Info',
    ...extraArguments,
  ]
  if (jailer === undefined) return { file: binary.path, args: vmm }
  const path = jailer.path ?? binary.jailerPath
  if (path === undefined)
    throw new VarveError('BINARY_NOT_FOUND', `no jailer beside ${binary.path}`, {
      remedy: 'give jailer.path',
    })
  const args = ['--id', id, '--exec-file', binary.path, '--uid', `${jailer.uid}`, '--gid', `${jailer.gid}`]
  args.push('--chroot-base-dir', chrootBase(jailer))
  if (jailer.netns !== undefined) args.push('--netns', jailer.netns)
  if (jailer.cgroupVersion !== undefined) args.push('--cgroup-version', `${jailer.cgroupVersion}`)
  for (const cgroup of jailer.cgroups ?? []) args.push('--cgroup', cgroup)
  for (const limit of jailer.resourceLimits ?? []) args.push('--resource-limit', limit)
  // The jailer passes --id on by itself.
  return { file: path, args: [...args, '--', ...vmm.slice(2)] }
}

const chrootBase = (jailer: JailerOptions) => jailer.chrootBaseDir ?? '/srv/jailer'

function makeJailRoot(options: LaunchOptions): string {
  const jailer = options.jailer as JailerOptions
  const root = join(chrootBase(jailer), basename(options.binary.path), options.id, 'root')
  mkdirSync(root, { recursive: true, mode: 0o700 })
  chownSync(root, jailer.uid, jailer.gid)
  return root
}

function spawnVmm(
  file: string,
  args: readonly string[],
  paths: VmmPaths,
  options: LaunchOptions,
): ChildProcess {
  makeFifo(paths.consoleInput, 0o600)
  const { O_RDWR, O_WRONLY, O_CREAT, O_APPEND, O_NONBLOCK } = constants
  const descriptors: number[] = []
  const open = (path: string, flags: number) => {
    const fd = openSync(path, flags, 0o600)
    descriptors.push(fd)
    return fd
  }
  try {
    // Firecracker up to 1.10 does not create its log file.
    open(paths.log, O_WRONLY | O_CREAT | O_APPEND)
    if (options.jailer) chownSync(paths.log, options.jailer.uid, options.jailer.gid)
    return spawn(file, [...args], {
      cwd: options.directory,
      // Its own session: Ctrl-C in the terminal must not kill the VMM before Varve has stopped it properly.
      detached: true,
      stdio: [
        // Read-write, so that the FIFO never reports end of file; non-blocking is what Firecracker sets anyway.
        open(paths.consoleInput, O_RDWR | O_NONBLOCK),
        open(paths.consoleOutput, O_WRONLY | O_CREAT | O_APPEND),
        open(paths.standardError, O_WRONLY | O_CREAT | O_APPEND),
      ],
    })
  } finally {
    for (const fd of descriptors) closeSync(fd)
  }
}

function childProcess(child: ChildProcess, paths: VmmPaths, files: VmmFiles, jailRoot: string | undefined) {
  let exit: VmmExit | undefined
  let identity: ProcessIdentity = { pid: child.pid ?? -1, startTime: 0 }
  if (child.pid !== undefined) identity = processIdentity(child.pid) ?? identity
  const spawned = new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) =>
      reject(new VarveError('LAUNCH_FAILED', `cannot start ${child.spawnfile}: ${cause.message}`, { cause })),
    )
  })
  const exited = new Promise<VmmExit>((resolve) => {
    const done = (code: number | null, signal: NodeJS.Signals | null) => {
      exit = { code, signal }
      resolve(exit)
    }
    child.once('exit', done)
    child.once('error', () => child.pid === undefined && done(null, null))
  })
  const process: VmmProcess = {
    identity,
    paths,
    files,
    jailRoot,
    exited,
    get exit() {
      return exit
    },
    kill: async () => {
      if (exit === undefined && child.pid !== undefined) {
        child.ref()
        killProcess(identity, 'SIGKILL')
      }
      return exited
    },
    unref: () => child.unref(),
    lastWords: () => lastWords(paths),
  }
  return { process, spawned }
}

/** Waits for the socket file by watching its directory, then for the first answer, until exit, abort or time-out. */
async function firstAnswer(vmm: VmmProcess, options: LaunchOptions): Promise<ApiClient> {
  const { signal, startTimeoutMs = 30_000 } = options
  const timeout = AbortSignal.timeout(startTimeoutMs)
  const ended = new AbortController()
  void vmm.exited.then(() => ended.abort())
  const stop = AbortSignal.any([timeout, ended.signal, ...(signal ? [signal] : [])])
  const watcher = watch(dirname(vmm.paths.apiSocket))
  try {
    for (;;) {
      const changed = nextEvent(watcher, stop)
      try {
        return await connectApi(vmm.paths.apiSocket, { signal: stop })
      } catch (error) {
        if (stop.aborted) throw error
        const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code
        // ENOENT: not bound yet, the watcher tells. ECONNREFUSED: bound but not listening yet, a few µs.
        if (code === 'ECONNREFUSED') await new Promise((resolve) => setTimeout(resolve, 1))
        else if (code === 'ENOENT') await changed
        else throw error
      }
    }
  } catch (error) {
    if (signal?.aborted) throw new VarveError('INTERRUPTED', 'launch was aborted', { cause: signal.reason })
    if (vmm.exit)
      throw new VarveError(
        'LAUNCH_FAILED',
        `Firecracker ended at start (${describeExit(vmm.exit)}): ${vmm.lastWords()}`,
      )
    if (timeout.aborted)
      throw new VarveError(
        'TIMEOUT',
        `Firecracker’s API did not answer within ${startTimeoutMs} ms: ${vmm.lastWords()}`,
      )
    throw error
  } finally {
    watcher.close()
  }
}

function nextEvent(watcher: ReturnType<typeof watch>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      watcher.off('change', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    watcher.once('change', done)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}

export function describeExit(exit: VmmExit): string {
  if (exit.signal !== null) return `signal ${exit.signal}`
  return exit.code === null ? 'status unknown' : `status ${exit.code}`
}

/** Enough for Firecracker's last error, short enough for a message. */
const lastWordsBytes = 2048

function lastWords(paths: VmmPaths): string {
  const parts = [paths.standardError, paths.log].map(tail).filter((text) => text !== '')
  return parts.join(' | ') || 'it left no message'
}

function tail(path: string): string {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch {
    return ''
  }
  try {
    const size = fstatSync(fd).size
    const buffer = Buffer.alloc(Math.min(size, lastWordsBytes))
    readSync(fd, buffer, 0, buffer.length, size - buffer.length)
    const lines = buffer.toString('utf8').split('\n')
    return lines
      .filter((line) => line.trim() !== '')
      .slice(-4)
      .join(' / ')
  } finally {
    closeSync(fd)
  }
}
