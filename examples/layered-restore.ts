import { mkdtemp, rm } from 'node:fs/promises'
import { bootMachine, captureSnapshot, openLocalStore, restoreMachine } from 'varve'

/**
 * Boots `kernel`, takes a base and a Diff on top of it, and restores the two layers.
 * Gives the restored VM's state.
 */
export async function layeredRestore(kernel: string): Promise<string> {
  const directory = await mkdtemp('/var/tmp/layers-')
  try {
    const store = await openLocalStore(`${directory}/store`, { create: true })
    {
      await using machine = await bootMachine({ kernel, memoryMib: 64, vcpus: 1 })
      const paused = await machine.pause()
      await captureSnapshot(paused, { store, tags: ['base'] })
      const running = await paused.resume()
      // … the guest works, and writes some pages …
      // On top of the machine's last snapshot: only the pages written since.
      await captureSnapshot(await running.pause(), { store, tags: ['child'] })
    } // the VM ends here

    await using restored = await restoreMachine(store, 'child', { engine: 'paged' })
    const { machine, report } = restored
    console.log(`${report.layers} layers, ${report.extents} extents, back in ${report.totalMs.toFixed(0)} ms`)
    return (await machine.info()).state
  } finally {
    await rm(directory, { recursive: true })
  }
}
