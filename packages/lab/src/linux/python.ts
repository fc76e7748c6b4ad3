import { cpSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import {
  type AptOptions,
  BuildKey,
  directDependencies,
  runTool,
  unpackedPackages,
  withMissingDependencies,
} from '@varve/guest/testing'
import { VarveError } from 'varve'
import { copyLibraries, libraryFolders, sharedLibraries } from './shared-libraries.js'

/** Names without a version, so that this is the Python 3 of whatever release the host has. */
const wanted = ['python3-minimal', 'libpython3-stdlib', 'python3-numpy', 'python3-pil'] as const

/** What the cache calls a list of packages: another list is fetched anew. */
export const pythonKind = (packages: readonly string[] = wanted) =>
  `python-${new BuildKey().text(packages.join(' ')).value}`

/** Packages that are Python's own; the others that these need are libraries, which most machines have. */
const ownPackage = /^(?:lib)?python3(?:$|[.-])/

/** All that Python has of its own; whatever else lies in unpacked packages is documentation or a library. */
const ownPaths = [/^usr\/bin\/python3[.\d]*$/, /^usr\/lib\/python3\.\d+$/, /^etc\/python3[.\d]*$/] as const
/** Where Debian's packages of modules are. */
const modulesPath = /^usr\/lib\/python3$/

/**
 * Left out: Python's tests, a megabyte of help texts, and modules for windows, terminals and databases, whose
 * libraries are as large as Python itself.
 */
const leftOut =
  /^(?:tests?|pydoc_data|tkinter|__pycache__|(?:_tkinter|_imagingtk|_curses|_curses_panel|_dbm|_sqlite3|nis|readline|_test\w*|_ctypes_test|_?xx\w*)\.cpython-.*\.so)$/

/** Python 3, its standard library, numpy, PIL and the packages named, unpacked into the cache. */
export function pythonPackages(more: readonly string[] = [], options: AptOptions = {}): Promise<string> {
  const packages = [...new Set([...wanted, ...more])]
  return unpackedPackages(pythonKind(packages), () => pythonPackageNames(packages, options), options)
}

/** Python's own packages, also those that this machine has, and the libraries that it lacks. */
async function pythonPackageNames(packages: readonly string[], options: AptOptions): Promise<string[]> {
  const names = new Set(await withMissingDependencies(packages, options))
  // Grows while it is gone through.
  for (const name of names) {
    if (!ownPackage.test(name)) continue
    for (const needed of await directDependencies(name, options)) {
      const plain = needed.replace(/:.*$/, '')
      if (ownPackage.test(plain)) names.add(plain)
    }
  }
  return [...names]
}

/**
 * Copies Python from a folder of unpacked packages into the file system in `root`: its standard library, with
 * `modules` also the other modules that are there, and the libraries that these need. It compiles them: the
 * guest's root is read-only, so each start of Python would do that again. Compiled files are bound to no time
 * (`unchecked-hash`), so equal packages give equal files.
 */
export async function installPython(
  unpacked: string,
  root: string,
  options: { readonly modules: boolean; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const { modules: hasModules, ...abort } = options
  const wantedPaths = hasModules ? [...ownPaths, modulesPath] : ownPaths
  const paths = ['usr/bin', 'usr/lib', 'etc']
    .flatMap((folder) => entriesOf(unpacked, folder))
    .filter((path) => wantedPaths.some((own) => own.test(path)))
  for (const path of paths) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    cpSync(join(unpacked, path), join(root, path), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !leftOut.test(basename(source)),
    })
  }
  const python = join(root, 'usr/bin/python3')
  if (!existsSync(python))
    throw new VarveError('HOST_UNSUPPORTED', `the Python packages in ${unpacked} have no usr/bin/python3`, {
      remedy: `delete ${unpacked} and try again`,
    })
  const modules = paths.filter((path) => path.startsWith('usr/lib/')).map((path) => join(root, path))
  const binaries = modules.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.so(?:\.\d+)*$/.test(name))
      .map((name) => join(folder, name)),
  )
  copyLibraries(await sharedLibraries([python, ...binaries], { unpacked, ...abort }), root)
  await compile(python, modules, root, abort)
}

const entriesOf = (unpacked: string, folder: string): string[] =>
  existsSync(join(unpacked, folder)) ? readdirSync(join(unpacked, folder)).map((it) => `${folder}/${it}`) : []

/** By the interpreter itself, as no other can; it runs where it lies, before there is a guest. */
async function compile(
  python: string,
  modules: readonly string[],
  root: string,
  { signal }: { readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const bound = ['--invalidation-mode', 'unchecked-hash', '-s', root, '-p', '/']
  await runTool(python, ['-S', '-m', 'compileall', '-q', ...bound, ...modules], {
    env: {
      LC_ALL: 'C',
      PYTHONHOME: join(root, 'usr'),
      // Else what the compiler itself imports would be compiled on the way there,
      // bound to the time of its source.
      PYTHONDONTWRITEBYTECODE: '1',
      // Sets in constants are written in the order of their hashes.
      PYTHONHASHSEED: '0',
      LD_LIBRARY_PATH: libraryFolders(root).join(':'),
    },
    signal,
  })
}
