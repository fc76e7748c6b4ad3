import { isAlive, type ProcessIdentity } from '../sys/proc.js'
import type { VmmExit } from './vmm-exit.js'
import { hostFiles, jailFiles } from './vmm-files.js'
import { vmmPaths } from './vmm-paths.js'
import { type VmmProcess, vmmProcess } from './vmm-process.js'

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
  return vmmProcess(new AdoptedProcess(identity), {
    paths: vmmPaths(directory, jail?.root),
    files: jail === undefined ? hostFiles(directory) : jailFiles(jail.root, jail),
    jailRoot: jail?.root,
  })
}

/** It does not keep this process alive unless `ref` was called. */
class AdoptedProcess {
  readonly identity: ProcessIdentity
  readonly exited: Promise<VmmExit>
  #exit: VmmExit | undefined
  #ended: (exit: VmmExit) => void = () => {}
  readonly #timer: NodeJS.Timeout

  constructor(identity: ProcessIdentity) {
    this.identity = identity
    this.exited = new Promise((resolve) => {
      this.#ended = resolve
    })
    this.#timer = setInterval(() => this.#look(), pollMs).unref()
    this.#look()
  }

  get exit(): VmmExit | undefined {
    return this.#exit
  }

  ref(): void {
    this.#timer.ref()
  }

  unref(): void {
    this.#timer.unref()
  }

  #look(): void {
    if (isAlive(this.identity)) return
    clearInterval(this.#timer)
    // Only the parent learns how a process ended.
    this.#exit = { code: null, signal: null }
    this.#ended(this.#exit)
  }
}
