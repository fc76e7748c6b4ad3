import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LaunchedMachine, LoadOptions } from 'varve'
import { startLines } from './child.js'

const socketName = 'uffd.sock'

/** A VM's memory by userfaultfd, answered by a program. */
export interface HandledMemory {
  readonly memory: LoadOptions['memory']
  /** Ends the program. */
  end(): Promise<void>
}

/**
 * Starts the handler in C, in the way of Firecracker's example, for a VMM that is
 * about to load a flat memory file.
 */
export async function startCHandler(
  handler: string,
  launched: LaunchedMachine,
  flat: string,
): Promise<HandledMemory> {
  const program = startLines(handler, [launched.files.local(socketName).hostPath, flat, 'example'])
  try {
    await program.line()
  } catch (error) {
    await program.kill()
    throw error
  }
  return { memory: { backend: 'Uffd', socketName }, end: () => program.kill() }
}

/** How long a handler has to make its socket. */
const socketMs = 5000

/**
 * Starts a handler that is called as Firecracker's own examples are: with the path of the socket that it is
 * to make, and the memory file. It says nothing once it listens, so its socket is waited for.
 */
export async function startExample(
  handler: string,
  launched: LaunchedMachine,
  flat: string,
): Promise<HandledMemory> {
  const socket = launched.files.local(socketName).hostPath
  const program = startLines(handler, [socket, flat])
  let ended = false
  void program.ended.then(() => {
    ended = true
  })
  for (const deadline = performance.now() + socketMs; !existsSync(socket); await sleep(1))
    if (ended || performance.now() > deadline) {
      await program.kill()
      throw new Error(`${handler} ${ended ? 'ended' : `made no socket in ${socketMs} ms`}`)
    }
  return { memory: { backend: 'Uffd', socketName }, end: () => program.kill() }
}
