import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { agentProgramPath } from './agent-program.js'
import type { AgentAddress } from './dial.js'
import { type GuestAgent, guestAgent } from './guest-agent.js'

/** Another build of the agent, say one with sanitizers: `VARVE_TEST_AGENT=/tmp/agent npx vitest run …`. */
const program = process.env.VARVE_TEST_AGENT ?? agentProgramPath

/** The real agent on a Unix socket, for tests: no VM is needed. */
export interface NativeAgent extends AsyncDisposable {
  readonly agent: GuestAgent
  readonly address: AgentAddress
  readonly directory: string
  readonly pid: number
  /** Resolves when its process has ended, to its status or signal. */
  readonly ended: Promise<number | string | null>
  /** Resident bytes of the agent's process. */
  residentBytes(): number
}

/**
 * `around`: a program that runs the agent, say `unshare` with its options. `flags` are the agent's,
 * `parent` is where the folder of its socket is made.
 */
export async function nativeAgent(
  around: readonly string[] = [],
  { flags = [], parent = tmpdir() }: { readonly flags?: readonly string[]; readonly parent?: string } = {},
): Promise<NativeAgent> {
  const directory = mkdtempSync(join(parent, 'varve-agent-'))
  const path = join(directory, 'agent.sock')
  const [file = '', ...args] = [...around, program, ...flags, '--unix', path]
  const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  const exit = new Promise<number | string | null>((resolve) =>
    child.once('exit', (status, signal) => resolve(status ?? signal)),
  )
  for (let tries = 0; !existsSync(path); tries++) {
    if (tries === 400 || child.exitCode !== null) throw new Error(`the agent did not start: ${file} ${args}`)
    await sleep(10)
  }
  const address = { path, direct: true }
  return {
    agent: guestAgent(address),
    address,
    directory,
    pid: child.pid as number,
    ended: exit,
    residentBytes: () => {
      const [, pages] = readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')
      return Number(pages) * 4096
    },
    [Symbol.asyncDispose]: async () => {
      await ended(child)
      rmSync(directory, { recursive: true })
    },
  }
}

/** Whether tests that need `unshare` with these options run: where it works, and in CI, to fail there. */
export const mustRun = ([program = '', ...options]: readonly string[]): boolean =>
  process.env.CI !== undefined ||
  (process.getuid?.() === 0 && spawnSync(program, [...options, 'true']).status === 0)

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exit
}
