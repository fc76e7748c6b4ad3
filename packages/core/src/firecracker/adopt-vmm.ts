import { killProcess } from '../sys/pidfd.js'
import { isAlive, type ProcessIdentity } from '../sys/proc.js'
import { lastWords } from './last-words.js'
import type { VmmExit } from './vmm-exit.js'
import { hostFiles, jailFiles } from './vmm-files.js'
import { vmmPaths } from './vmm-paths.js'
import type { VmmProcess } from './vmm-process.js'

/**
 * Adopted processes are not our children, so their end is polled; 5 ms is far below what a person notices.
 */
const pollMs = 5

/** A VMM that another process started, found again by its identity. */
export function adoptVmm(
  identity: ProcessIdentity,
  directory: string,
  jail?: { readonly root: string; readonly uid: number; readonly gid: number },
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
    timer = setInterval(look, pollMs)
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
    unref: () => timer?.unref(),
    lastWords: () => lastWords(paths),
  }
}
