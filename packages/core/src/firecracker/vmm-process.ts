import { killProcess } from '../sys/pidfd.js'
import type { ProcessIdentity } from '../sys/proc.js'
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
  /**
   * Calls back when the process has ended. The function that it returns takes that back. A `then` of `exited`
   * cannot be taken back: it stays in memory for as long as the VMM lives, with all that it refers to. So
   * what may be over before the VMM waits here.
   */
  onExit(called: () => void): () => void
  /** SIGKILL through a pidfd; resolves when the process is gone. Safe to repeat. */
  kill(): Promise<VmmExit>
  /** Lets this process end while the VMM goes on. */
  unref(): void
  /** The last lines of stderr and of Firecracker's own log, for error messages. */
  lastWords(): string
}

/** A process whose end this process learns of: a child (`sys/spawn.ts`), or another one that it looks at. */
interface WatchedProcess {
  readonly identity: ProcessIdentity
  readonly exited: Promise<VmmExit>
  readonly exit: VmmExit | undefined
  /** Keeps this process alive until that one has ended. */
  ref(): void
  unref(): void
}

export function vmmProcess(
  watched: WatchedProcess,
  { paths, files, jailRoot }: Pick<VmmProcess, 'paths' | 'files' | 'jailRoot'>,
): VmmProcess {
  const { identity, exited } = watched
  const waiting = new Set<() => void>()
  let hasEnded = false
  void exited.then(() => {
    hasEnded = true
    for (const called of waiting) called()
    waiting.clear()
  })
  return {
    identity,
    paths,
    files,
    jailRoot,
    exited,
    get exit() {
      return watched.exit
    },
    onExit: (called) => {
      if (hasEnded) queueMicrotask(called)
      else waiting.add(called)
      return () => waiting.delete(called)
    },
    kill: () => {
      if (watched.exit === undefined) {
        watched.ref()
        killProcess(identity, 'SIGKILL')
      }
      return exited
    },
    unref: () => watched.unref(),
    lastWords: () => lastWords(paths),
  }
}
