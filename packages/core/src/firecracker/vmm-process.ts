import type { ChildProcess } from 'node:child_process'
import { VarveError } from '../errors.js'
import { killProcess } from '../sys/pidfd.js'
import { type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { lastWords } from './last-words.js'
import type { VmmExit } from './vmm-exit.js'
import type { VmmFiles } from './vmm-files.js'
import type { VmmPaths } from './vmm-paths.js'

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

/** A child as a VmmProcess. `spawned` is rejected (LAUNCH_FAILED) if the program could not be started. */
export function childProcess(
  child: ChildProcess,
  paths: VmmPaths,
  files: VmmFiles,
  jailRoot: string | undefined,
) {
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
