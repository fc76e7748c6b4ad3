import { type Digest, VarveError } from 'varve'
import { Fields, isDigest } from 'varve/testing'
import { maxLayers } from './image-limits.js'

/** What an image says about running it. */
export interface ImageConfig {
  /** `NAME=VALUE`, each. */
  readonly env: readonly string[]
  readonly entrypoint: readonly string[]
  /** Arguments of `entrypoint`, or the command if there is none. */
  readonly cmd: readonly string[]
  readonly workingDir: string
  /** A name or number, with `:` and a group if there is one; empty is root. */
  readonly user: string
}

export const emptyConfig: ImageConfig = { env: [], entrypoint: [], cmd: [], workingDir: '/', user: '' }

/** Names of processors as Go and OCI have them. */
const architectures: Readonly<Partial<Record<NodeJS.Architecture, string>>> = { x64: 'amd64', arm64: 'arm64' }
export const hostArchitecture = (): string => architectures[process.arch] ?? process.arch

export interface ReadConfig {
  readonly config: ImageConfig
  /** SHA-256 of each layer as it is unpacked. */
  readonly diffIds: readonly Digest[]
}

/** An image's configuration (OCI image specification, config.md). `from` is for messages. */
export function readImageConfig(document: Fields, from: string): ReadConfig {
  const architecture = document.raw('architecture')
  const host = hostArchitecture()
  if (typeof architecture === 'string' && architecture !== '' && architecture !== host)
    throw new VarveError(
      'HOST_UNSUPPORTED',
      `the image ${from} is for ${architecture.slice(0, 100)}, this host is ${host}`,
      {
        remedy: `use an image for linux/${host}`,
      },
    )
  const diffIds = document.object('rootfs').list('diff_ids', maxLayers)
  if (!diffIds.every(isDigest)) throw document.refusal('rootfs.diff_ids', diffIds, 'a list of digests')
  return { config: imageConfigFrom(document.raw('config'), from), diffIds }
}

function imageConfigFrom(value: unknown, from: string): ImageConfig {
  if (value === undefined || value === null) return emptyConfig
  const fields = new Fields(from, value, 'config')
  return {
    env: strings(fields, 'Env'),
    entrypoint: strings(fields, 'Entrypoint'),
    cmd: strings(fields, 'Cmd'),
    workingDir: string(fields, 'WorkingDir') || '/',
    user: string(fields, 'User'),
  }
}

/** Lists and strings that are missing are null in configurations written by Go. */
export function strings(fields: Fields, name: string): readonly string[] {
  if (fields.raw(name) === undefined || fields.raw(name) === null) return []
  const list = fields.list(name, 4096)
  for (const it of list)
    if (typeof it !== 'string' || it.includes('\0')) throw fields.refusal(name, it, 'a list of strings')
  return list as readonly string[]
}

export function string(fields: Fields, name: string): string {
  const value = fields.raw(name) ?? ''
  if (typeof value !== 'string' || value.includes('\0')) throw fields.refusal(name, value, 'a string')
  return value
}
