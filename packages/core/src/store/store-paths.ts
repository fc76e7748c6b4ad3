import { join } from 'node:path'
import type { Digest } from '../content/descriptors.js'
import { hexOf } from '../content/descriptors.js'

/** Where everything of a store lies, docs/formats/store-v1.md. */
export interface StorePaths {
  readonly directory: string
  readonly layout: string
  readonly index: string
  readonly blobs: string
  readonly lock: string
  /** Held by a gc, from begin to end. */
  readonly gc: string
  readonly staging: string
  readonly leases: string
  readonly garbage: string
  readonly verified: string
  readonly flat: string
  readonly clones: string
}

export function storePaths(directory: string): StorePaths {
  const own = (name: string) => join(directory, 'varve', name)
  return {
    directory,
    layout: join(directory, 'oci-layout'),
    index: join(directory, 'index.json'),
    blobs: join(directory, 'blobs', 'sha256'),
    lock: own('lock'),
    gc: own('gc'),
    staging: own('staging'),
    leases: own('leases'),
    garbage: own('garbage'),
    verified: own('verified'),
    flat: own('flat'),
    clones: own('clones'),
  }
}

export const blobPath = (paths: StorePaths, digest: Digest): string => join(paths.blobs, hexOf(digest))
