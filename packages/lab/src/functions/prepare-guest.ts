import { agentPort, type GuestAgent, guestAgent, type MemoryReport } from '@varve/guest'
import {
  bootMachine,
  captureSnapshot,
  type FirecrackerBinary,
  type SnapshotEntry,
  type SnapshotStore,
} from 'varve'
import type { LinuxGuest } from '../linux/guest-files.js'
import type { InputName, LabFunction } from './function-types.js'
import { installFunction, invokeRight } from './invoke-function.js'

export interface PrepareGuestOptions {
  readonly store: SnapshotStore
  /** Its tags in the store. */
  readonly tags: readonly string[]
  /** Those to be in it, each loaded in a process of its own. */
  readonly functions: readonly LabFunction[]
  /** `await guestHere()`. */
  readonly guest: LinuxGuest
  /** Default: 256. */
  readonly memoryMib?: number
  /** Default: 1. */
  readonly vcpus?: number
  /** What each function is invoked with before the snapshot; null for not at all. Default: `a`, once. */
  readonly warm?: InputName | null
  /** What is done with the guest last, after the functions were loaded and invoked. */
  readonly beforeCapture?: (agent: GuestAgent) => Promise<void>
  /** Default: `findFirecracker()`. */
  readonly binary?: FirecrackerBinary | undefined
  readonly runtimeDirectory?: string | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

export interface PreparedFunction {
  readonly name: string
  /** Until it was loaded, by the guest's clock. */
  readonly startMs: number
  /** Its first invocation, by the guest's clock; null if it was not warmed. */
  readonly warmMs: number | null
}

export interface PreparedGuest {
  readonly entry: SnapshotEntry
  readonly functions: readonly PreparedFunction[]
  /** The guest's own view, right before the snapshot. */
  readonly memory: MemoryReport
  /** From Firecracker's start to the agent's first answer. */
  readonly bootMs: number
  /** How long the guest stood still for the snapshot. */
  readonly captureMs: number
}

/** An emulated guest boots in 10 s, Node starts in it in 5 s; a busy machine takes several times as long. */
const bootTimeoutMs = 120_000
const callTimeoutMs = 120_000

/** The smallest root disk that has all that these functions need. */
export function diskFor(guest: LinuxGuest, functions: readonly LabFunction[]): string {
  const isPlain = functions.every(({ runtime, packages }) => runtime === 'python' && packages.length === 0)
  return isPlain ? guest.rootDisk : guest.functionsDisk
}

/**
 * Boots a guest, has the functions loaded and each invoked once, and captures it into the store. Wherever a
 * Linux guest runs: here or, by a script, in the nested lab. Errors: those of booting and capturing,
 * GUEST_REFUSED (a function does not load, or fails), GUEST_PROTOCOL (it answers wrong).
 */
export async function prepareGuest(options: PrepareGuestOptions): Promise<PreparedGuest> {
  const { store, tags, guest, warm = 'a', binary, runtimeDirectory, signal, onProgress } = options
  const abort = { signal }
  const begin = performance.now()
  onProgress?.('booting a Linux guest')
  await using machine = await bootMachine(
    {
      kernel: guest.kernel,
      initrd: guest.initrd,
      bootArgs: guest.bootArgs,
      rootDisk: { path: diskFor(guest, options.functions), readOnly: true },
      memoryMib: options.memoryMib ?? 256,
      vcpus: options.vcpus ?? 1,
      vsockCid: 3,
      guestAgent: { port: agentPort },
    },
    {
      ...abort,
      binary,
      runtimeDirectory,
    },
  )
  const agent = guestAgent(machine)
  await agent.ping({ timeoutMs: bootTimeoutMs, ...abort })
  const bootMs = performance.now() - begin
  const call = { timeoutMs: callTimeoutMs, ...abort }
  const functions: PreparedFunction[] = []
  for (const fn of options.functions) {
    onProgress?.(`starting ${fn.name}`)
    const { startMs } = await installFunction(agent, fn, call)
    const warmed = warm === null ? null : await invokeRight(agent, fn, warm, call)
    functions.push({ name: fn.name, startMs, warmMs: warmed?.guestMs ?? null })
  }
  await options.beforeCapture?.(agent)
  const memory = await agent.memory(call)
  onProgress?.(`capturing ${tags.join(', ')}`)
  const { entry, createMs } = await captureSnapshot(await machine.pause(abort), { store, tags, ...abort })
  return { entry, functions, memory, bootMs, captureMs: createMs }
}
