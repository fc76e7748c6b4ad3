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
