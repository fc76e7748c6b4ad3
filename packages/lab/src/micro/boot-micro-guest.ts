import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bootMachine, type LaunchMachineOptions, type MachineSpec, type RunningMachine } from 'varve'
import { buildMicroGuest } from './build-micro-guest.js'
import { MicroConsole } from './micro-console.js'

export interface BootMicroGuestOptions extends LaunchMachineOptions {
  readonly memoryMib: number
  /** Default true. */
  readonly trackDirtyPages?: boolean
  readonly hugePages?: boolean
  /** What else the machine has. The guest uses none of it. */
  readonly devices?: Partial<MachineSpec>
}

/** Disposed of, its console is closed and its machine stopped. */
export interface MicroGuest extends AsyncDisposable {
  readonly machine: RunningMachine
  readonly console: MicroConsole
  /** Pages of its memory, as the guest counted them. */
  readonly pages: number
}

/** Boots a micro guest and waits for its banner. */
export async function bootMicroGuest(options: BootMicroGuestOptions): Promise<MicroGuest> {
  const { memoryMib, trackDirtyPages = true, hugePages = false, devices, ...launch } = options
  const directory = mkdtempSync(join(tmpdir(), 'varve-micro-'))
  try {
    const kernel = join(directory, 'micro-guest.elf')
    writeFileSync(kernel, buildMicroGuest(), { mode: 0o600 })
    const machine = await bootMachine(
      { kernel, memoryMib, vcpus: 1, trackDirtyPages, hugePages, ...devices },
      launch,
    )
    let console: MicroConsole | undefined
    try {
      console = MicroConsole.attach(machine.paths)
      const { signal } = launch
      const attached = console
      const pages = await attached.ready({ signal })
      return {
        machine,
        console: attached,
        pages,
        [Symbol.asyncDispose]: async () => {
          await attached[Symbol.asyncDispose]()
          await machine.stop()
        },
      }
    } catch (error) {
      await console?.[Symbol.asyncDispose]()
      await machine.stop()
      throw error
    }
  } finally {
    // Firecracker has read the kernel by now.
    rmSync(directory, { recursive: true, force: true })
  }
}
