import { type Digest, VarveError } from 'varve'
import { Fields } from 'varve/testing'
import type { ImageConfig } from '../image/image-config.js'

/** A file of a guest, kept under its digest. */
export interface GuestFilePart {
  readonly digest: Digest
  readonly sizeBytes: number
}

export interface GuestRootDisk extends GuestFilePart {
  /** What its files hold, without holes. */
  readonly dataBytes: number
  readonly inodes: number
}

/** A built guest: docs/formats/guest-image.md. */
export interface GuestManifest {
  /** ISO 8601, UTC. */
  readonly createdAt: string
  /** The image as it was asked for, and the digest of what came. */
  readonly source: { readonly reference: string; readonly digest: Digest }
  readonly rootDisk: GuestRootDisk
  /** `release` is null for a kernel file that was given. */
  readonly kernel: GuestFilePart & { readonly release: string | null }
  readonly initrd: GuestFilePart
  readonly bootArgs: string
  /** What the image says about running it. */
  readonly config: ImageConfig
}

const format = 'varve-guest'
const version = 1

export function manifestToJson(manifest: GuestManifest): Buffer {
  return Buffer.from(`${JSON.stringify({ format, version, ...manifest }, null, 2)}\n`)
}

/** Checks every field; FORMAT_INVALID and FORMAT_UNSUPPORTED name the file. */
export function manifestFromJson(path: string, value: unknown): GuestManifest {
  const fields = new Fields(path, value)
  fields.text('format', /^varve-guest$/, format)
  const found = fields.whole('version', 1, Number.MAX_SAFE_INTEGER)
  if (found !== version)
    throw new VarveError('FORMAT_UNSUPPORTED', `${path}: a guest of version ${found}, not ${version}`, {
      remedy: 'build it again by this Varve',
    })
  const source = fields.object('source')
  const kernel = fields.object('kernel')
  return {
    createdAt: fields.text('createdAt', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'a time'),
    source: { reference: source.text('reference', /^[^\0]+$/, 'a text'), digest: digest(source) },
    rootDisk: rootDiskFrom(fields.object('rootDisk')),
    kernel: {
      ...part(kernel),
      release:
        kernel.raw('release') === null ? null : kernel.text('release', /^[\w.+~-]{1,100}$/, 'a version'),
    },
    initrd: part(fields.object('initrd')),
    bootArgs: fields.text('bootArgs', /^[\x20-\x7e]{1,2000}$/, 'a kernel command line'),
    config: configFrom(fields.object('config')),
  }
}

export function rootDiskFrom(fields: Fields): GuestRootDisk {
  return {
    ...part(fields),
    dataBytes: fields.whole('dataBytes', 0, Number.MAX_SAFE_INTEGER),
    inodes: fields.whole('inodes', 0, 2 ** 32),
  }
}

const digest = (fields: Fields): Digest =>
  fields.text('digest', /^sha256:[0-9a-f]{64}$/, 'sha256: and 64 hexadecimal digits') as Digest

const part = (fields: Fields): GuestFilePart => ({
  digest: digest(fields),
  sizeBytes: fields.whole('sizeBytes', 0, Number.MAX_SAFE_INTEGER),
})

function configFrom(fields: Fields): ImageConfig {
  const texts = (name: string) => {
    const list = fields.list(name, 4096)
    if (!list.every((it) => typeof it === 'string')) throw fields.refusal(name, list, 'a list of strings')
    return list as readonly string[]
  }
  return {
    env: texts('env'),
    entrypoint: texts('entrypoint'),
    cmd: texts('cmd'),
    workingDir: fields.text('workingDir', /^[^\0]*$/, 'a path'),
    user: fields.text('user', /^[^\0]*$/, 'a name'),
  }
}
