import { closeSync, constants, fchownSync, openSync } from 'node:fs'
import { throwIfAborted } from '../abort-error.js'
import { VarveError } from '../errors.js'
import { makeFifo } from '../sys/fifo.js'
import { lockForLife } from '../sys/life-lock.js'
import { type Child, spawnProcess } from '../sys/spawn.js'
import type { ApiClient } from './api-client.js'
import type { FirecrackerBinary } from './binary.js'
import { firstAnswer } from './first-answer.js'
import { type JailerOptions, jailerCommand, jailRootOf, makeJail, removeJail } from './jailer.js'
import { hostFiles, jailFiles } from './vmm-files.js'
import { apiSocketName, logName, type VmmPaths, vmmPaths } from './vmm-paths.js'
import { type VmmProcess, vmmProcess } from './vmm-process.js'

interface LaunchOptions {
  readonly binary: FirecrackerBinary
  /** Machine id: letters, digits, '-'. Shown in Firecracker's log. */
  readonly id: string
  /** Private directory of the VM, 0700, made by the caller: working directory, sockets, logs. */
  readonly directory: string
  readonly jailer?: JailerOptions | undefined
  readonly extraArguments?: readonly string[]
  /** Called as soon as the jail exists, and before a process uses it; what it throws ends the launch. */
  readonly onJail?: (root: string) => void
  /** Called as soon as the process exists, to put it on record; what it throws ends the launch. */
  readonly onSpawn?: (process: VmmProcess) => void
  readonly signal?: AbortSignal | undefined
  /**
   * How long the API socket may take to answer. Usually 10 ms; a loaded TCG host
   * needs seconds. Default 30,000.
   */
  readonly startTimeoutMs?: number
}

/**
 * Starts Firecracker in `directory` and waits until its API answers. On any failure nothing is left running,
 * nor a jail; what is in `directory` is the caller's to remove.
 */
export async function launchVmm(options: LaunchOptions): Promise<{ process: VmmProcess; api: ApiClient }> {
  const { binary, id, directory, jailer, signal, startTimeoutMs: timeoutMs = 30_000 } = options
  throwIfAborted(signal, 'the launch')
  const jailRoot = jailer === undefined ? undefined : jailRootOf(jailer, binary, id)
  const paths = vmmPaths(directory, jailRoot)
  const { file, args } = commandLine(options)
  if (jailer !== undefined && jailRoot !== undefined) makeJail(jailRoot, jailer)
  let process: VmmProcess | undefined
  try {
    if (jailRoot !== undefined) options.onJail?.(jailRoot)
    const child = spawnVmm(file, args, paths, options)
    const files =
      jailer === undefined || jailRoot === undefined ? hostFiles(directory) : jailFiles(jailRoot, jailer)
    process = vmmProcess(child, { paths, files, jailRoot })
    // Before anything is waited for: a process that is on no record would outlive a crash of this one.
    options.onSpawn?.(process)
    return { process, api: await firstAnswer(process, { signal, timeoutMs }) }
  } catch (error) {
    await process?.kill()
    if (jailRoot !== undefined) removeJail(jailRoot)
    throw error
  }
}

function commandLine(options: LaunchOptions): { readonly file: string; readonly args: readonly string[] } {
  const { binary, id, jailer, extraArguments = [] } = options
  // Relative to the working directory, which is the VM's own (or the jail's root): clones then never collide.
  const args = ['--api-sock', apiSocketName, '--log-path', logName, '--level', 'Info', ...extraArguments]
  return jailer === undefined
    ? { file: binary.path, args: ['--id', id, ...args] }
    : jailerCommand(jailer, binary, id, args)
}

function spawnVmm(file: string, args: readonly string[], paths: VmmPaths, options: LaunchOptions): Child {
  makeFifo(paths.consoleInput, 0o600)
  const { O_RDWR, O_WRONLY, O_CREAT, O_APPEND, O_NONBLOCK, O_NOFOLLOW } = constants
  const descriptors: number[] = []
  const open = (path: string, flags: number) => {
    const fd = openSync(path, flags | O_NOFOLLOW, 0o600)
    descriptors.push(fd)
    return fd
  }
  const openLocked = (path: string, flags: number) => {
    const fd = open(path, flags)
    if (lockForLife(fd, path)) return fd
    throw new VarveError('LAUNCH_FAILED', `${path} is locked: another VMM works in ${options.directory}`)
  }
  try {
    // Firecracker up to 1.10 does not create its log file.
    const log = open(paths.log, O_WRONLY | O_CREAT | O_APPEND)
    if (options.jailer) fchownSync(log, options.jailer.uid, options.jailer.gid)
    const stdio = [
      // Read-write, so that the FIFO never reports end of file; non-blocking is what Firecracker sets anyway.
      open(paths.consoleInput, O_RDWR | O_NONBLOCK),
      open(paths.consoleOutput, O_WRONLY | O_CREAT | O_APPEND),
      // The lock goes with the descriptor: once ours is closed, the VMM alone has it, until it ends.
      openLocked(paths.standardError, O_WRONLY | O_CREAT | O_APPEND),
    ] as const
    // A session of its own: Ctrl-C in the terminal must not kill the VMM before
    // Varve has stopped it properly.
    return spawnProcess({
      file,
      args,
      directory: options.directory,
      stdio,
      // Firecracker leaves the modes of its files to the umask, and it writes guest memory into
      // directories of the caller's choice.
      umask: 0o077,
    })
  } finally {
    for (const fd of descriptors) closeSync(fd)
  }
}
