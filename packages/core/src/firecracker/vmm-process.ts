import { constants } from 'node:os'
import { killProcess } from '../sys/pidfd.js'
import type { ProcessIdentity } from '../sys/proc.js'
import type { Child, Exit } from '../sys/spawn.js'
import { lastWords } from './last-words.js'
import type { VmmExit } from './vmm-exit.js'
import type { VmmFiles } from './vmm-files.js'
import type { VmmPaths } from './vmm-paths.js'

export interface VmmProcess {
  readonly identity: ProcessIdentity
  readonly paths: VmmPaths
  readonly files: VmmFiles
  /** Root of the jail, if there is one. */
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

/** A child as a VmmProcess. */
export function childVmm(
  child: Child,
  paths: VmmPaths,
  files: VmmFiles,
  jailRoot: string | undefined,
): VmmProcess {
  const { identity } = child
  const exited = child.exited.then(vmmExit)
  return {
    identity,
    paths,
    files,
    jailRoot,
    exited,
    get exit() {
      return child.exit && vmmExit(child.exit)
    },
    kill: () => {
      if (child.exit === undefined) {
        child.ref()
        killProcess(identity, 'SIGKILL')
      }
      return exited
    },
    unref: () => child.unref(),
    lastWords: () => lastWords(paths),
  }
}

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
)

function vmmExit({ code, signal }: Exit): VmmExit {
  return { code, signal: signal === null ? null : (signalNames.get(signal) ?? null) }
}
