import { closeSync, openSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { forEachStretch, type MappedRegion } from '../memory/mapped-region.js'
import { type PageSet, runsOf } from '../memory/page-set.js'
import { pageSizeBytes } from '../memory/units.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { readMemory } from './frozen-memory.js'

/** The largest copy, 20 MiB: memory for it is made, and touched, before the guest is paused. */
export const mostCopiedPages = 5120

/** Gives bytes of a VMM from an address on. */
export type MemorySource = (address: number, into: Uint8Array) => void

let touched: Buffer | undefined
/** Made once for all captures of this process, which come one after the other. */
function copyMemory(): Buffer {
  touched ??= Buffer.alloc(mostCopiedPages * pageSizeBytes, 1)
  return touched
}

/** A copy of what little was written. */
export class PagesCopy {
  readonly #copy = copyMemory()

  /** From the twin, which has the VMM's memory: the VMM's pid can be another process's by now. */
  take(twin: ProcessIdentity, vmm: ProcessIdentity, regions: readonly MappedRegion[], taken: PageSet): void {
    const memory = openSync(`/proc/${twin.pid}/mem`, 'r')
    try {
      let at = 0
      for (const { start, count } of runsOf(taken))
        forEachStretch(regions, start, count, (address, bytes) => {
          if (!readMemory(memory, address, this.#copy.subarray(at, at + bytes)))
            throw new VarveError('MACHINE_EXITED', `process ${vmm.pid} ended while its memory was copied`)
          at += bytes
        })
    } finally {
      closeSync(memory)
    }
  }

  /** The copy lies in the order of the pages that were taken, and is read in that order. */
  source(): MemorySource {
    let at = 0
    return (_, into) => {
      this.#copy.copy(into, 0, at, at + into.length)
      at += into.length
    }
  }
}
