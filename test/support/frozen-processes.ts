import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'

export interface SeenProcess {
  readonly pid: number
  readonly parent: number
  /** As of proc_pid_stat(5). */
  readonly state: string
  /** Its arguments, each ended by a zero. */
  readonly command: string
}

/** All processes there are. */
export function processes(): SeenProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        const [state = '', parent = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8')
        return [{ pid: Number(name), parent: Number(parent), state, command }]
      } catch {
        return []
      }
    })
}

/** Those that were forked from this Firecracker: they have its command line, which names the machine. */
export function frozenOf({ pid }: { readonly pid: number }): SeenProcess[] {
  const own = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  return processes().filter((it) => it.pid !== pid && it.command === own)
}

/** Looks each 10 ms, as many times as `tries` says. */
export async function untilTrue(holds: () => boolean, tries: number): Promise<void> {
  for (let left = tries; left > 0 && !holds(); left--) await sleep(10)
  expect(holds()).toBe(true)
}
