import type { SourceOptions } from '../content/blob-source.js'
import type { Descriptor, Digest } from '../content/descriptors.js'
import type { Reference, RefSource } from '../content/ref-source.js'
import { assertTag, referencedSnapshot, referenceTo } from '../content/references.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { endCommitLeases } from './commit-leases.js'
import { withEntry } from './reference-index.js'
import type { Repository } from './repository.js'

/**
 * The tags of a store in a directory. A snapshot has one manifest here: if a tag gets another manifest of a
 * snapshot that has other tags too, those mean the new manifest as well.
 */
export class LocalRefs implements RefSource {
  readonly #repository: Repository

  constructor(repository: Repository) {
    this.#repository = repository
  }

  get location(): string {
    return this.#repository.location
  }

  async read(name: string, { signal }: SourceOptions = {}): Promise<Descriptor | undefined> {
    assertTag(name)
    throwIfAborted(signal, name)
    const found = (await this.#repository.list()).find(({ tags }) => tags.includes(name))
    return found && referenceTo(found)
  }

  async compareAndSet(
    name: string,
    expected: Digest | null,
    next: Descriptor | null,
    options: SourceOptions = {},
  ): Promise<boolean> {
    assertTag(name)
    const target = next && referencedSnapshot(next)
    return this.#repository.locked(async () => {
      if (target !== null) await this.#repository.assertThere(target.manifest)
      const { snapshots } = await this.#repository.index()
      const now = snapshots.find(({ tags }) => tags.includes(name))
      if ((now?.manifest.digest ?? null) !== expected) return false
      const before = target === null ? now : snapshots.find(({ id }) => id === target.id)
      const tags = (before?.tags ?? []).filter((it) => it !== name)
      const entry = target === null ? now && { ...now, tags } : { ...target, tags: [...tags, name] }
      if (entry === undefined) return true
      await this.#repository.updateIndex((index) => withEntry(index, entry))
      endCommitLeases(this.#repository.paths.leases, entry.id)
      return true
    }, options)
  }

  async *list({ signal }: SourceOptions = {}): AsyncGenerator<Reference> {
    for (const entry of await this.#repository.list())
      for (const name of entry.tags) {
        throwIfAborted(signal, name)
        yield { name, target: referenceTo(entry) }
      }
  }
}
