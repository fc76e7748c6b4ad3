import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProcessIdentity } from 'varve'
import { processIdentity } from 'varve/testing'
import { markName } from './run.js'

export interface RunProcess extends ProcessIdentity {
  readonly command: string
}

/**
 * Living processes of a run except this one: marked in their environment, or working in the run's directory.
 */
export function processesOf(directory: string): RunProcess[] {
  const found: RunProcess[] = []
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    if (!belongs(pid, directory)) continue
    const identity = processIdentity(pid)
    if (identity !== undefined) found.push({ ...identity, command: commandOf(pid) })
  }
  return found
}

function belongs(pid: number, directory: string): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
    if (environment.includes(`${markName}=${directory}`)) return true
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${directory}/`)
  } catch {
    // It has ended, is a kernel thread, or belongs to another user.
    return false
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim().slice(0, 300)
  } catch {
    return '(ended)'
  }
}

/**
 * Waits until no process of the run lives for which `counts` is true; returns those that still live after
 * `ms`.
 */
export async function waitForEnd(
  directory: string,
  ms: number,
  counts: (process: RunProcess) => boolean = () => true,
): Promise<RunProcess[]> {
  for (const deadline = performance.now() + ms; ; await sleep(50)) {
    const left = processesOf(directory).filter(counts)
    if (left.length === 0 || performance.now() > deadline) return left
  }
}

/** A process with its parent, and what its first thread sleeps on. */
export function stateOf({ pid, command }: RunProcess): string {
  const read = (name: string) => {
    try {
      return readFileSync(`/proc/${pid}/${name}`, 'latin1')
    } catch {
      return ''
    }
  }
  const stat = read('stat')
  const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return `${pid} (child of ${parent}) ${state} ${read('wchan')}: ${command}`
}

/** Pids of the processes that hold a flock(2) lock on a file (proc_locks(5)). */
export function lockHolders(path: string): string[] {
  const ino = statSync(path, { throwIfNoEntry: false })?.ino
  const held = readFileSync('/proc/locks', 'latin1').split('\n')
  return held.filter((line) => line.includes(`:${ino} `)).map((line) => line.trim().split(/\s+/)[4] ?? '')
}

/** Command lines of the children of a process. */
export function childrenOf(pid: number): string[] {
  const found: string[] = []
  for (const thread of readdirSync(`/proc/${pid}/task`))
    for (const child of readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' '))
      if (child !== '') found.push(commandOf(Number(child)))
  return found
}
