import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { runTool } from '@varve/guest/testing'
import { VarveError } from 'varve'

/**
 * Libraries of which a system has one of several lie in a folder of their own, and update-alternatives makes
 * a link next to it, where programs look; it does not run here.
 */
const alternativeFolder = /\/(?:blas|lapack)\/(?=[^/]+$)/

export interface SharedLibrary {
  /** Where the program will look for it. */
  readonly target: string
  /** Where it lies now. */
  readonly source: string
}

/**
 * The shared libraries of programs (or of libraries) as `ldd` names them, loader included. With `unpacked` (a
 * folder of unpacked packages) libraries are looked for there first and appear under their path in it.
 */
export async function sharedLibraries(
  programs: readonly string[],
  options: { readonly unpacked?: string; readonly signal?: AbortSignal | undefined } = {},
): Promise<SharedLibrary[]> {
  const { unpacked, signal } = options
  const folders = unpacked === undefined ? [] : libraryFolders(unpacked)
  const text = await runTool('ldd', programs, {
    env: {
      ...process.env,
      LC_ALL: 'C',
      ...(folders.length > 0 ? { LD_LIBRARY_PATH: folders.join(':') } : {}),
    },
    signal,
  })
  const libraries = new Map<string, SharedLibrary>()
  for (const line of text.toString('utf8').split('\n')) {
    if (line.includes('not found'))
      throw new VarveError(
        'HOST_UNSUPPORTED',
        `${programs[0]}${programs.length > 1 ? ' or others with it' : ''}: a library is not there: ${line.trim()}`,
      )
    const source = /(?:=>\s+)?(\/\S+)\s+\(0x/.exec(line)?.[1]
    if (source === undefined) continue
    const target =
      unpacked !== undefined && source.startsWith(`${unpacked}/`)
        ? source.slice(unpacked.length).replace(alternativeFolder, '/')
        : source
    libraries.set(target, { source, target })
  }
  return [...libraries.values()]
}

/** Puts libraries into the file system that lies in `root`. */
export function copyLibraries(libraries: readonly SharedLibrary[], root: string): void {
  for (const { source, target } of libraries) {
    mkdirSync(dirname(join(root, target)), { recursive: true })
    copyFileSync(source, join(root, target))
  }
}

/** Folders of libraries by their names, as LD_LIBRARY_PATH wants them. */
export function libraryFolders(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((it) => it.isDirectory() && /^(lib|lib64|[a-z0-9_]+-linux-gnu|blas|lapack)$/.test(it.name))
    .map((it) => join(it.parentPath, it.name))
}
