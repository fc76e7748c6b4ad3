import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { PausedMachine, RunningMachine, TakeOptions } from 'varve'
import type { MicroWorld } from './micro-world.js'

export interface Came {
  readonly way?: { readonly mode: string; readonly because: string }
  readonly lost?: { readonly reason: string } | null
  readonly id?: string
  readonly code?: string
  readonly message?: string
}

const program = fileURLToPath(new URL('live-capturer.mjs', import.meta.url))

/** A capture of a machine by another process, begun by the command `by` if there is one. */
export function liveCapturer(
  world: MicroWorld,
  machine: { readonly id: string },
  options: Omit<TakeOptions, 'store'> & { tags?: string[] },
  {
    by = [],
    diesInsteadOf,
  }: {
    readonly by?: readonly string[]
    /** Kills itself where it would ask Firecracker to do this. */
    readonly diesInsteadOf?: 'createSnapshot' | 'resume'
  } = {},
) {
  const { runtimeDirectory } = world
  const order = { id: machine.id, runtimeDirectory, store: world.path('store'), options, diesInsteadOf }
  const [command = '', ...args] = [...by, process.execPath, program, JSON.stringify(order)]
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const connected = once(child.stdout, 'data')
  const came = (async (): Promise<Came | undefined> => {
    let text = ''
    for await (const part of child.stdout) text += String(part)
    const [, line = ''] = text.split('\n')
    return line === '' ? undefined : (JSON.parse(line) as Came)
  })()
  return { child, connected, came }
}

/** Whether the VMM has, or else the guest runs on, which may take a moment if the capturer was killed. */
export async function hasEnded(machine: RunningMachine | PausedMachine): Promise<boolean> {
  for (const until = performance.now() + 20_000; ; await sleep(20)) {
    const info = await machine.info().catch(() => undefined)
    if (info?.state !== 'Paused') return info === undefined
    if (performance.now() > until) throw new Error(`${machine.id} is still paused`)
  }
}
