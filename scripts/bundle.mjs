// Makes the files that Node runs out of the sources of packages/core and packages/cli: `npm run build` does
// so after tsc, which checks the types and writes the declarations. Node takes longer to find and link three
// hundred small modules than to run the few files made here (docs/decisions/0013-the-command.md).
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const core = join(root, 'packages/core')
const outdir = join(core, 'dist')
const source = (name) => join(core, 'src', `${name}.ts`)

/**
 * The programs and threads that the SDK starts. Each is whole in one file: a page server runs from a copy of
 * these files, and a process that starts alone shares nothing.
 */
const programs = [
  'mapper/mapper-main',
  'freezer/freezer-main',
  'machine/log-keeper-main',
  'page-server/process/page-server-main',
  'page-server/process/guard-main',
  'page-server/faults/fault-worker',
  'page-server/prefetch/prefetch-worker',
]

const common = {
  absWorkingDir: root,
  outdir,
  write: false,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  entryNames: '[name]',
  // In the same folder as the others: a module finds programs and threads in its own folder.
  chunkNames: 'chunk-[hash]',
  external: ['koffi', '@varve/guest', '@varve/lab', '@varve/remote'],
  logLevel: 'warning',
  legalComments: 'none',
}

/** The files of `exports`, each from the source of the same name. */
function doors() {
  const { exports } = JSON.parse(readFileSync(join(core, 'package.json'), 'utf8'))
  return Object.values(exports).flatMap((door) => /^\.\/dist\/(.+)\.js$/.exec(door.default ?? '')?.[1] ?? [])
}

/** What a program imports (`varve/layers`) → its source. */
export const sourcesOfDoors = () =>
  Object.fromEntries(doors().map((name) => [name === 'index' ? 'varve' : `varve/${name}`, source(name)]))

/** Which module declares each name that a door exports. */
function declaringModules() {
  const modules = new Map()
  for (const door of doors()) {
    const text = readFileSync(source(door), 'utf8')
    for (const [, names, from] of text.matchAll(/^export \{([^}]*)\} from '\.\/(.+)\.js'/gm))
      for (const name of names.split(',')) modules.set(`${door}:${name.trim()}`, from)
    for (const [, from] of text.matchAll(/^export \* from '\.\/(.+)\.js'/gm))
      for (const [, name] of readFileSync(source(from), 'utf8').matchAll(
        /^export (?:const|class|function) (\w+)/gm,
      ))
        modules.set(`${door}:${name}`, from)
  }
  return modules
}

/**
 * Has the command import each name from the module that declares it. Through `index.ts`, which is a file of
 * its own here, esbuild would give each verb the whole SDK.
 */
const directImports = {
  name: 'direct imports',
  setup({ onLoad }) {
    const modules = declaringModules()
    const direct = (path, door, name) => {
      const from = modules.get(`${door}:${name}`)
      if (from === undefined)
        throw new Error(`${path} imports ${name}: the door ${door} does not export it by this name`)
      return `import { ${name} } from ${JSON.stringify(source(from))}`
    }
    onLoad({ filter: /packages\/cli\/src\/.*\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8')
        .replace(/^import type \{[^}]*\} from 'varve(?:\/[\w-]+)?'$/gm, '')
        .replace(/^import \{([^}]*)\} from 'varve(?:\/([\w-]+))?'$/gm, (_, names, door = 'index') =>
          names
            .split(',')
            .map((name) => name.trim())
            .filter((name) => name !== '' && !name.startsWith('type '))
            .map((name) => direct(path, door, name))
            .join('\n'),
        ),
    }))
  },
}

/**
 * Verbs that are built into one file, as they need the same of the SDK: a file for each would make Node link
 * twenty small ones for one verb. Those of the last group need nearly all of it.
 */
const groups = [
  ['boot', 'ps', 'stats', 'pause', 'resume', 'stop'],
  ['completion', 'lab/ls', 'lab/report'],
  ['guest/build', 'guest/ls', 'guest/show', 'guest/rm'],
  ['inspect'],
  ['exec', 'put', 'get', 'logs'],
  ['push', 'pull', 'ls', 'rm'],
  ['restore', 'run', 'clone', 'snapshot/create', 'doctor', 'bench', 'lab/run', 'ws/record'],
]

/** Has each verb loaded with its group; verbs of no group, which work on the store, are one themselves. */
const verbsInGroups = {
  name: 'verbs in groups',
  setup({ onResolve, onLoad }) {
    const commands = join(root, 'packages/cli/src/commands')
    const names = readdirSync(commands, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => name.slice(0, -'.ts'.length))
    const members = [names.filter((name) => !groups.flat().includes(name)), ...groups]
    onLoad({ filter: /packages\/cli\/src\/verbs\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8').replace(/import\('\.\/commands\/(.+)\.js'\)/g, (_, name) => {
        const group = members.findIndex((it) => it.includes(name))
        return `import('verbs:${group}').then((all) => all[${JSON.stringify(name)}])`
      }),
    }))
    onResolve({ filter: /^verbs:/ }, ({ path }) => ({ path, namespace: 'verbs' }))
    onLoad({ filter: /^verbs:/, namespace: 'verbs' }, ({ path }) => ({
      resolveDir: commands,
      contents: (members[Number(path.slice('verbs:'.length))] ?? [])
        .map((name) => `export * as ${JSON.stringify(name)} from ${JSON.stringify(`./${name}.ts`)}`)
        .join('\n'),
    }))
  },
}

/** Those that take Node a millisecond and more; the others are in every process already. */
const lazyModules = [
  'child_process',
  'crypto',
  'fs/promises',
  'http',
  'module',
  'net',
  'util',
  'worker_threads',
  'zlib',
]

/**
 * Loads these at the first use of a name that they export. A plain import loads the module at once, and reads
 * every export: of `node:http` that takes 50 ms on Node 22 (docs/notes/start-up.md).
 */
const lazyBuiltins = {
  name: 'lazy built-in modules',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^node:(?:${lazyModules.join('|')})$`)
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'lazy' }))
    onLoad({ filter, namespace: 'lazy' }, ({ path }) => ({
      contents: `let loaded
const load = () => (loaded ??= process.getBuiltinModule(${JSON.stringify(path)}))
for (const name of ${JSON.stringify(Object.keys(process.getBuiltinModule(path)))})
  Object.defineProperty(exports, name, { enumerable: true, get: () => load()[name] })`,
    }))
  },
}

/** Writes what has changed, so that programs that run from these files go on undisturbed. */
function write(files) {
  mkdirSync(outdir, { recursive: true })
  for (const { path, contents } of files) {
    if (existsSync(path) && readFileSync(path).equals(contents)) continue
    writeFileSync(`${path}.new`, contents)
    renameSync(`${path}.new`, path)
  }
  const made = new Set(files.map(({ path }) => basename(path)))
  for (const name of readdirSync(outdir))
    if (name.endsWith('.js') && !made.has(name)) rmSync(join(outdir, name))
}

export async function bundle() {
  const [shared, alone] = await Promise.all([
    build({
      ...common,
      entryPoints: [
        ...doors().map((name) => ({ in: source(name), out: name })),
        { in: join(root, 'packages/cli/src/start.ts'), out: 'command' },
      ],
      // One copy of each module in a process: the command, the doors and @varve/lab share classes and state.
      splitting: true,
      plugins: [verbsInGroups, directImports, lazyBuiltins],
      alias: sourcesOfDoors(),
    }),
    build({ ...common, entryPoints: programs.map(source), plugins: [lazyBuiltins] }),
  ])
  write([...shared.outputFiles, ...alone.outputFiles])
}

/** For vitest, which calls it before the tests (`globalSetup`). */
export default bundle

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle()
