import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { VarveError } from 'varve'
import { runTool } from '../tools/run-tool.js'

export interface KernelModule {
  /** With underscores, as the kernel names it. */
  readonly name: string
  readonly content: Buffer
}

const normalise = (name: string) => name.replaceAll('-', '_')

/**
 * The named modules and what they depend on, each after its dependencies: insert them in this order. Modules
 * that the kernel has built in are left out; a name that is neither is an error unless it ends in `?`.
 */
export async function kernelModules(
  modulesDirectory: string,
  names: readonly string[],
  options: { signal?: AbortSignal | undefined } = {},
): Promise<KernelModule[]> {
  const files = moduleFiles(modulesDirectory)
  const builtIn = builtInModules(modulesDirectory)
  const ordered = new Map<string, KernelModule>()
  const visiting = new Set<string>()
  const add = async (wanted: string): Promise<void> => {
    const optional = wanted.endsWith('?')
    const name = normalise(optional ? wanted.slice(0, -1) : wanted)
    if (ordered.has(name) || builtIn.has(name) || visiting.has(name)) return
    const file = files.get(name)
    if (file === undefined) {
      if (optional) return
      throw new VarveError('HOST_UNSUPPORTED', `${modulesDirectory} has no module ${name}`)
    }
    visiting.add(name)
    const content = await readModule(file, options.signal)
    for (const dependency of moduleDependencies(content)) await add(dependency)
    ordered.set(name, { name, content })
  }
  for (const name of names) await add(name)
  return [...ordered.values()]
}

/** The `depends=` entry of a module's .modinfo section: NUL-terminated `key=value` strings. */
export function moduleDependencies(content: Buffer): string[] {
  const start = content.indexOf('\0depends=', 0, 'latin1')
  if (start < 0) return []
  const from = start + '\0depends='.length
  const end = content.indexOf(0, from)
  return content
    .toString('latin1', from, end < 0 ? content.length : end)
    .split(',')
    .filter((it) => it !== '')
    .map(normalise)
}

function moduleFiles(modulesDirectory: string): Map<string, string> {
  const files = new Map<string, string>()
  for (const path of readdirSync(join(modulesDirectory, 'kernel'), { recursive: true, encoding: 'utf8' })) {
    const name = /([^/]+)\.ko(?:\.(?:gz|xz|zst))?$/.exec(path)?.[1]
    if (name !== undefined) files.set(normalise(name), join(modulesDirectory, 'kernel', path))
  }
  return files
}

function builtInModules(modulesDirectory: string): Set<string> {
  const text = readFileSync(join(modulesDirectory, 'modules.builtin'), 'utf8')
  return new Set([...text.matchAll(/([^/\n]+)\.ko$/gm)].map((match) => normalise(match[1] as string)))
}

async function readModule(path: string, signal?: AbortSignal): Promise<Buffer> {
  const input = readFileSync(path)
  const options = { input, signal }
  if (path.endsWith('.gz')) return gunzipSync(input, { maxOutputLength: 64 * 1024 * 1024 })
  if (path.endsWith('.xz')) return runTool('xz', ['-d', '-c'], options)
  if (path.endsWith('.zst')) return runTool('zstd', ['-d', '-c'], options)
  return input
}
