import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { runTool } from './run-tool.js'

export interface SharedLibrary {
  /** Where the program will look for it. */
  readonly target: string
  /** Where it lies now. */
  readonly source: string
}

/**
 * The shared libraries of a program as `ldd` names them, loader included. With `unpacked` (a folder of unpacked
 * packages) libraries are looked for there first and appear under their path in it.
 */
export async function sharedLibraries(
  program: string,
  options: { readonly unpacked?: string; readonly signal?: AbortSignal } = {},
): Promise<SharedLibrary[]> {
  const { unpacked, signal } = options
  const folders = unpacked === undefined ? [] : libraryFolders(unpacked)
  const text = await runTool('ldd', [program], {
    env: {
      ...process.env,
      LC_ALL: 'C',
      ...(folders.length > 0 ? { LD_LIBRARY_PATH: folders.join(':') } : {}),
    },
    ...(signal === undefined ? {} : { signal }),
  })
  const libraries: SharedLibrary[] = []
  for (const line of text.toString('utf8').split('\n')) {
    if (line.includes('not found'))
      throw new VarveError('HOST_UNSUPPORTED', `${program} needs a library that is not there: ${line.trim()}`)
    const source = /(?:=>\s+)?(\/\S+)\s+\(0x/.exec(line)?.[1]
    if (source === undefined) continue
    const target =
      unpacked !== undefined && source.startsWith(`${unpacked}/`) ? source.slice(unpacked.length) : source
    libraries.push({ source, target })
  }
  return libraries
}

function libraryFolders(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((it) => it.isDirectory() && /^(lib|lib64|[a-z0-9_]+-linux-gnu)$/.test(it.name))
    .map((it) => join(it.parentPath, it.name))
}
