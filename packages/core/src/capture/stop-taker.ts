import { VarveError } from '../errors.js'
import type { SnapshotOptions } from '../machine/write-snapshot.js'
import type { MemoryTaker } from './memory-taker.js'

/** Firecracker writes all of it while the guest stands still. */
export function stopTaker(options: SnapshotOptions, because: string): MemoryTaker {
  return {
    take: async (still) => {
      const { taken } = await still.write(options)
      return { taken, way: () => ({ mode: 'stop', because, frozen: null }) }
    },
    describe: async () => {
      throw new VarveError('MACHINE_STATE', 'Firecracker wrote the memory: it is frozen in no process')
    },
    finish: async () => {},
    [Symbol.asyncDispose]: async () => {},
  }
}
