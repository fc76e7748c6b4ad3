import { existsSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Digest, notFound, VarveError } from 'varve'
import {
  assertOwnDirectory,
  deadStagings,
  Fields,
  type FileLock,
  leftClones,
  lock,
  makeStaging,
  onProcessEnd,
  readJsonFile,
  removeFile,
  removeTree,
  renameFile,
  replaceFile,
  syncDirectory,
} from 'varve/testing'
import {
  type GuestManifest,
  type GuestRootDisk,
  manifestFromJson,
  manifestToJson,
  rootDiskFrom,
} from './guest-manifest.js'
import { defaultGuestsDirectory, type GuestPaths, guestPaths } from './guest-paths.js'

const maxManifestBytes = 1024 * 1024
const version = 1

export interface CatalogueOptions {
  /** Default: `defaultGuestsDirectory()`. */
  readonly directory?: string | undefined
}

/** A guest of this host, by its name. */
export interface KeptGuest extends GuestManifest {
  readonly name: string
}

/** A file that a build made, and what it must be kept as. */
export interface BuiltPart {
  readonly path: string
  readonly digest: Digest
}

/** A folder that a build works in. What is left in it goes with it, also when this process ends. */
export interface BuildFolder extends AsyncDisposable {
  readonly directory: string
}

/**
 * The guests that are kept in a directory. Any number of processes may use it at once: each change is made
 * under a lock that the kernel releases with its holder, and readers see a guest whole or not at all.
 */
export class GuestCatalogue {
  readonly paths: GuestPaths

  private constructor(paths: GuestPaths) {
    this.paths = paths
  }

  /**
   * Makes the directory if it is missing. PATH_INVALID if it, or a directory in it, is not this user's
   * alone.
   */
  static async open({
    directory = defaultGuestsDirectory(),
  }: CatalogueOptions = {}): Promise<GuestCatalogue> {
    const paths = guestPaths(directory)
    for (const path of [
      directory,
      paths.names,
      dirname(paths.blobs),
      paths.blobs,
      paths.builds,
      paths.work,
      paths.disks,
    ]) {
      await mkdir(path, { recursive: true, mode: 0o700 })
      assertOwnDirectory(path)
    }
    if (!existsSync(paths.version))
      await replaceFile(paths.version, Buffer.from(JSON.stringify({ format: 'varve-guests', version })))
    const fields = new Fields(paths.version, readJsonFile(paths.version, 4096))
    fields.text('format', /^varve-guests$/, 'varve-guests')
    const found = fields.whole('version', 1, Number.MAX_SAFE_INTEGER)
    if (found !== version)
      throw new VarveError(
        'FORMAT_UNSUPPORTED',
        `${directory} keeps guests in version ${found}, not ${version}`,
        {
          remedy: 'use the Varve that made it, or another directory ($VARVE_GUESTS)',
        },
      )
    return new GuestCatalogue(paths)
  }

  /** In the order of their names. */
  async list(): Promise<KeptGuest[]> {
    const names = (await readdir(this.paths.names)).flatMap((it) => /^(.+)\.json$/.exec(it)?.[1] ?? [])
    return names.sort().flatMap((name) => this.#read(name) ?? [])
  }

  /** NOT_FOUND if there is no guest of this name. */
  get(name: string): KeptGuest {
    const found = this.#read(name)
    if (found !== undefined) return found
    throw this.#missing(name)
  }

  #missing(name: string): VarveError {
    return notFound('guest', `there is no guest ${name} in ${this.paths.directory}`, {
      remedy: 'varve guest ls lists them, varve guest build makes one',
    })
  }

  #read(name: string): KeptGuest | undefined {
    const path = this.paths.nameFile(name)
    // Removed since it was listed, for example.
    if (!existsSync(path)) return undefined
    return { name, ...manifestFromJson(path, readJsonFile(path, maxManifestBytes)) }
  }

  /** The root disk that an earlier build of this key made, if it is still here. */
  builtBefore(key: string): GuestRootDisk | undefined {
    const path = this.paths.build(key)
    if (!existsSync(path)) return undefined
    const disk = rootDiskFrom(new Fields(path, readJsonFile(path, maxManifestBytes)).object('rootDisk'))
    return existsSync(this.paths.blob(disk.digest)) ? disk : undefined
  }

  async startBuild(signal: AbortSignal | undefined): Promise<BuildFolder> {
    const folder = await this.#locked(signal, async () => {
      await this.#removeLeftOvers()
      return makeStaging(this.paths.work)
    })
    const forget = onProcessEnd(() => removeTree(folder.directory))
    return {
      directory: folder.directory,
      [Symbol.asyncDispose]: async () => {
        forget()
        await folder[Symbol.asyncDispose]()
      },
    }
  }

  /**
   * Keeps a guest under a name; one that has the name is replaced. `parts` are the files of the manifest that
   * this build made. Those that it did not make must still be here, or the build is to begin again: false.
   */
  async publish(
    name: string,
    manifest: GuestManifest,
    {
      parts,
      key,
      signal,
    }: {
      readonly parts: readonly BuiltPart[]
      readonly key: string
      readonly signal: AbortSignal | undefined
    },
  ): Promise<boolean> {
    return this.#locked(signal, async () => {
      const { rootDisk, kernel, initrd } = manifest
      for (const { path, digest } of parts) await renameFile(path, this.paths.blob(digest))
      if (![rootDisk, kernel, initrd].every(({ digest }) => existsSync(this.paths.blob(digest)))) return false
      await syncDirectory(this.paths.blobs)
      await replaceFile(this.paths.build(key), Buffer.from(`${JSON.stringify({ rootDisk }, null, 2)}\n`))
      await replaceFile(this.paths.nameFile(name), manifestToJson(manifest))
      await this.#removeUnused()
      return true
    })
  }

  /** NOT_FOUND, and nothing is removed, if one of the names is missing. */
  async remove(names: readonly string[], signal?: AbortSignal): Promise<void> {
    await this.#locked(signal, async () => {
      // Also one that cannot be read any more can be removed.
      for (const name of names) if (!existsSync(this.paths.nameFile(name))) throw this.#missing(name)
      for (const name of names) await removeFile(this.paths.nameFile(name))
      await this.#removeLeftOvers()
      await this.#removeUnused()
    })
  }

  async #locked<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const held: FileLock = await lock(this.paths.lock, { signal })
    await using _held = held
    return await work()
  }

  /** Of builds whose process has ended, and root disks of machines that have ended. */
  async #removeLeftOvers(): Promise<void> {
    const { ended } = await leftClones(this.paths.disks)
    for (const directory of [...(await deadStagings(this.paths.work)), ...ended]) removeTree(directory)
  }

  /** Builds and blobs that no guest names. */
  async #removeUnused(): Promise<void> {
    const guests = await this.list()
    const disks = new Set(guests.map(({ rootDisk }) => this.paths.blob(rootDisk.digest)))
    const used = new Set(
      guests.flatMap(({ rootDisk, kernel, initrd }) =>
        [rootDisk, kernel, initrd].map(({ digest }) => digest.slice('sha256:'.length)),
      ),
    )
    for (const file of await readdir(this.paths.builds)) {
      const disk = this.builtBefore(file.replace(/\.json$/, ''))
      if (disk === undefined || !disks.has(this.paths.blob(disk.digest)))
        await removeFile(`${this.paths.builds}/${file}`)
    }
    for (const file of await readdir(this.paths.blobs))
      if (!used.has(file)) await removeFile(`${this.paths.blobs}/${file}`)
  }
}
