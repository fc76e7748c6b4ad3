import { closeSync, fstatSync, openSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import { pageSizeBytes } from '../../memory/units.js'
import { adviseRandomAccess, type MemoryMapping, mapFile } from '../../sys/memory-map.js'
import { fileIdentity } from '../../sys/proc.js'
import type { CopySource } from '../../sys/userfaultfd.js'

/** The layers of one VM, mapped. To be released once nothing copies from them any more. */
export interface MappedLayers {
  readonly sources: readonly CopySource[]
  release(): void
}

interface Shared {
  readonly mapping: MemoryMapping
  users: number
}

/**
 * Layer files, mapped for the kernel to read from. VMs that have a layer in common share its mapping, and
 * with it the page tables: what one of them has asked for, the next need not map again.
 */
export class LayerMappings {
  readonly #shared = new Map<string, Shared>()

  /** IMAGE_MISMATCH if a file is shorter than its pages. */
  map(
    layers: readonly { readonly path: string; readonly pages: number }[],
    randomAccess: boolean,
  ): MappedLayers {
    const keys: string[] = []
    const release = () => {
      for (const key of keys.splice(0)) this.#release(key)
    }
    try {
      const sources = layers.map(({ path, pages }) => {
        const key = this.#acquire(path, pages, randomAccess)
        // No run of a map leads to a layer without pages, and a mapping of nothing is EINVAL.
        if (key === undefined) return { address: 0, lengthBytes: 0 }
        keys.push(key)
        const { address, lengthBytes } = (this.#shared.get(key) as Shared).mapping
        return { address, lengthBytes }
      })
      return { sources, release }
    } catch (error) {
      release()
      throw error
    }
  }

  #acquire(path: string, pages: number, randomAccess: boolean): string | undefined {
    const fd = openSync(path, 'r')
    try {
      const stat = fstatSync(fd, { bigint: true })
      const lengthBytes = pages * pageSizeBytes
      if (stat.size < lengthBytes)
        throw new VarveError(
          'IMAGE_MISMATCH',
          `layer ${path} has ${stat.size} bytes, ${lengthBytes} are needed`,
        )
      if (pages === 0) return undefined
      const key = `${fileIdentity(stat)}:${pages}:${randomAccess}`
      const shared = this.#shared.get(key)
      if (shared === undefined) {
        const mapping = mapFile(fd, lengthBytes)
        if (randomAccess) adviseRandomAccess(mapping)
        this.#shared.set(key, { mapping, users: 1 })
      } else shared.users++
      return key
    } finally {
      closeSync(fd)
    }
  }

  #release(key: string): void {
    const shared = this.#shared.get(key) as Shared
    if (--shared.users > 0) return
    this.#shared.delete(key)
    shared.mapping[Symbol.dispose]()
  }
}
