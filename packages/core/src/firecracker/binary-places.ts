import { resolve } from 'node:path'

/** Where to look for Firecracker first. */
export interface BinaryPlaces {
  /** This binary and no other, whatever `$FIRECRACKER` says. */
  readonly firecracker?: string | undefined
  /** The folder to choose from in place of `$VARVE_FIRECRACKER_DIR`; then `$FIRECRACKER` does not count. */
  readonly firecrackerDirectory?: string | undefined
}

export type NamedOrigin =
  | '$FIRECRACKER'
  | '$VARVE_FIRECRACKER_DIR'
  | 'option firecracker'
  | 'option firecrackerDirectory'

/** A path that the caller or the environment names. */
export interface NamedPlace {
  readonly path: string
  readonly origin: NamedOrigin
}

/**
 * An option comes before the variable of the same meaning, and any option before `$FIRECRACKER`. An empty
 * variable is none.
 */
export function namedPlaces(
  { firecracker, firecrackerDirectory }: BinaryPlaces,
  env: NodeJS.ProcessEnv,
): { readonly file: NamedPlace | undefined; readonly folder: NamedPlace | undefined } {
  const option = place(firecracker, 'option firecracker')
  const folder = place(firecrackerDirectory, 'option firecrackerDirectory')
  return {
    file: option ?? (folder === undefined ? place(env.FIRECRACKER || undefined, '$FIRECRACKER') : undefined),
    folder: folder ?? place(env.VARVE_FIRECRACKER_DIR || undefined, '$VARVE_FIRECRACKER_DIR'),
  }
}

const place = (path: string | undefined, origin: NamedOrigin): NamedPlace | undefined =>
  path === undefined ? undefined : { path: resolve(path), origin }

export const onlyPlaces = ({ firecracker, firecrackerDirectory }: BinaryPlaces): BinaryPlaces => ({
  firecracker,
  firecrackerDirectory,
})
