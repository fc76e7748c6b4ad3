import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BuildKey, buildOnce, writeFolderDisk } from '@varve/guest/testing'
import { VarveError } from 'varve'

/** The checkout that this file was built in. */
const projectRoot = fileURLToPath(new URL('../../../../', import.meta.url))

interface PackageJson {
  readonly name?: string
  readonly workspaces?: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

/**
 * An ext4 image of the built project and what it needs at run time, as paths of the checkout. A disk of its
 * own and small (some MB), so that a change of the project does not rebuild the host image.
 */
export async function projectDisk(
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const files = projectFiles()
  const key = new BuildKey().text('project 2')
  for (const name of files) await key.file(name, join(projectRoot, name))
  const directory = await buildOnce('project', key.value, async (work) => {
    const root = join(work, 'root')
    for (const name of files) {
      const source = join(projectRoot, name)
      mkdirSync(join(root, dirname(name)), { recursive: true })
      if (lstatSync(source).isSymbolicLink()) symlinkSync(readlinkSync(source), join(root, name))
      else copyFileSync(source, join(root, name))
    }
    await writeFolderDisk(root, join(work, 'project.ext4'), { ...options, roomBytes: 0 })
    await rm(root, { recursive: true })
  })
  return join(directory, 'project.ext4')
}

/**
 * Each workspace's dist, agent, bin, guest and package.json, and in node_modules the links
 * to them and their dependencies.
 */
function projectFiles(): string[] {
  const files: string[] = ['package.json']
  const external = new Set<string>()
  for (const folder of readManifest('').workspaces ?? []) {
    if (!existsSync(join(projectRoot, folder, 'dist')))
      throw new VarveError('LAB_FAILED', `${join(projectRoot, folder)} is not built`, {
        remedy: 'run: npm run build',
      })
    const manifest = readManifest(folder)
    files.push(join(folder, 'package.json'), ...filesUnder(join(folder, 'dist'), isProduct))
    for (const part of ['agent', 'bin', 'guest'])
      if (existsSync(join(projectRoot, folder, part)))
        files.push(...filesUnder(join(folder, part), () => true))
    const link = join('node_modules', manifest.name ?? '')
    if (existsSync(join(projectRoot, link))) files.push(link)
    for (const name of Object.keys(manifest.dependencies ?? {})) external.add(name)
  }
  // A set that grows while it is walked: dependencies of dependencies follow.
  for (const name of external) {
    const folder = join('node_modules', name)
    if (!existsSync(join(projectRoot, folder)) || lstatSync(join(projectRoot, folder)).isSymbolicLink())
      continue
    files.push(...filesUnder(folder, isRuntime))
    const manifest = readManifest(folder)
    for (const next of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))
      external.add(next)
  }
  return files.sort()
}

const isProduct = (path: string) => !/\.test\.|\.map$|\.d\.ts$|\.tsbuildinfo$/.test(path)
/** Packages carry sources and prebuilt binaries of other systems; only what Node loads here is needed. */
const isRuntime = (path: string) => /\.(js|cjs|mjs|json|node)$/.test(path) && !path.includes('musl')

function readManifest(folder: string): PackageJson {
  return JSON.parse(readFileSync(join(projectRoot, folder, 'package.json'), 'utf8')) as PackageJson
}

function filesUnder(folder: string, wanted: (path: string) => boolean): string[] {
  return readdirSync(join(projectRoot, folder), { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile())
    .map((it) => relative(projectRoot, join(it.parentPath, it.name)))
    .filter(wanted)
}
