import { createHash } from 'node:crypto'
import {
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  utimesSync,
} from 'node:fs'
import { mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { cacheDirectory } from 'varve'

/** Old builds of the same kind that are kept: enough to go back and forth between two branches. */
const keptBuilds = 3
/** A build directory untouched for this long was left behind by a killed process. */
const abandonedMs = 60 * 60 * 1000

/** Where everything the labs build or fetch is kept. */
export function labCacheDirectory(): string {
  const directory = join(cacheDirectory(), 'lab')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  return directory
}

/**
 * Gives the directory `KIND-KEY` of the cache, built once: `build` fills a fresh directory next to it, which
 * is renamed into place when complete. Processes that race build twice and agree on one result.
 */
export async function buildOnce(
  kind: string,
  key: string,
  build: (directory: string) => Promise<void>,
): Promise<string> {
  const root = labCacheDirectory()
  const target = join(root, `${kind}-${key}`)
  if (existsSync(target)) {
    utimesSync(target, new Date(), new Date())
    return target
  }
  const work = await mkdtemp(join(root, `building-${kind}-`))
  try {
    await build(work)
    await rename(work, target)
  } catch (error) {
    await rm(work, { recursive: true, force: true })
    if (!existsSync(target)) throw error
  }
  await prune(root, kind)
  return target
}

async function prune(root: string, kind: string): Promise<void> {
  const builds: { path: string; usedMs: number }[] = []
  for (const name of readdirSync(root)) {
    const path = join(root, name)
    const usedMs = await stat(path).then(
      (it) => it.mtimeMs,
      () => Number.NaN,
    )
    if (Number.isNaN(usedMs)) continue
    if (name.startsWith('building-') && Date.now() - usedMs > abandonedMs)
      await rm(path, { recursive: true, force: true })
    if (name.startsWith(`${kind}-`)) builds.push({ path, usedMs })
  }
  builds.sort((a, b) => b.usedMs - a.usedMs)
  for (const { path } of builds.slice(keptBuilds)) await rm(path, { recursive: true, force: true })
}

/**
 * SHA-256 (first 16 hex digits) of texts and of the names, kinds and contents of files: the key of a build.
 */
export class BuildKey {
  readonly #hash = createHash('sha256')

  text(value: string): this {
    this.#hash.update(`${Buffer.byteLength(value)}:${value}`)
    return this
  }

  async file(name: string, path: string): Promise<this> {
    const info = lstatSync(path)
    if (info.isSymbolicLink()) return this.text(`link ${name} ${readlinkSync(path)}`)
    this.text(`file ${name} ${info.mode & 0o111} ${info.size}`)
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), async (chunks) => {
      for await (const chunk of chunks) this.#hash.update(chunk as Buffer)
    })
    return this
  }

  get value(): string {
    return this.#hash.copy().digest('hex').slice(0, 16)
  }
}
