import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { notFound } from '../not-found.js'
import type { BlobSource, SourceOptions } from './blob-source.js'
import type { Descriptor, Digest } from './descriptors.js'
import type { Reference, RefSource } from './ref-source.js'
import { assertTag, referencedSnapshot, referenceTo } from './references.js'

/** References in this process's memory, to manifests of `blobs`: for tests of what stands on a RefSource. */
export class MemoryRefs implements RefSource {
  readonly location = 'memory'
  readonly #blobs: BlobSource
  readonly #targets = new Map<string, Descriptor>()

  constructor(blobs: BlobSource) {
    this.#blobs = blobs
  }

  async read(name: string, { signal }: SourceOptions = {}): Promise<Descriptor | undefined> {
    throwIfAborted(signal, name)
    return this.#targets.get(assertTag(name))
  }

  async compareAndSet(
    name: string,
    expected: Digest | null,
    next: Descriptor | null,
    options: SourceOptions = {},
  ): Promise<boolean> {
    assertTag(name)
    const target = next && referenceTo(referencedSnapshot(next))
    if (target !== null && (await this.#blobs.stat(target.digest, options)) === undefined)
      throw notFound('blob', `no blob ${target.digest} in ${this.location}`)
    throwIfAborted(options.signal, name)
    if ((this.#targets.get(name)?.digest ?? null) !== expected) return false
    if (target === null) this.#targets.delete(name)
    else this.#targets.set(name, target)
    return true
  }

  async *list({ signal }: SourceOptions = {}): AsyncGenerator<Reference> {
    for (const [name, target] of [...this.#targets]) {
      throwIfAborted(signal, this.location)
      yield { name, target }
    }
  }
}
