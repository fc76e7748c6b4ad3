import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../errors.js'
import { flockShared, lockDescriptor } from '../../sys/file-lock.js'

/**
 * The scripts of processes and threads. The build makes one file of each, which imports nothing but koffi.
 */
const scripts = ['page-server-main.js', 'guard-main.js', 'fault-worker.js', 'prefetch-worker.js']
/** The files of koffi that Node reads: its modules, package descriptions, and the native part. */
const neededOfKoffi = /\.(js|cjs|json|node)$/
/**
 * Where the scripts are, relative to the package's root: in the folder of the file that this module is built
 * into.
 */
const scriptFolder = 'dist'
const packageRoot = fileURLToPath(new URL('../', import.meta.url))
/** Locked by every process that runs from the copy, as long as it lives. */
const lockName = 'in-use'
/** Held by the process that makes or removes a copy. */
export const programsLock = (programs: string) => join(programs, 'lock')

/**
 * Makes a copy of this package and of koffi in `programs`, from which page servers and guards run. So they
 * find their own version of the scripts that they start later (guards, threads), even if the package is
 * replaced or removed. Copies are named by their content. The caller holds `programsLock` until the processes
 * that run from the copy have locked it (`holdOwnProgram`). Returns the folder of the processes' scripts.
 * WRITE_FAILED if the copy cannot be written.
 */
export function copyProgram(programs: string): string {
  const files = programFiles()
  const hash = createHash('sha256')
  for (const [path, content] of files) hash.update(`${path}\0${content.length}\0`).update(content)
  const program = join(programs, hash.digest('hex').slice(0, 32))
  if (existsSync(program)) return join(program, scriptFolder)
  const draft = join(programs, `new-${randomBytes(8).toString('hex')}`)
  try {
    const made = new Set<string>()
    for (const [path, content] of files) {
      const target = join(draft, path)
      if (!made.has(dirname(target))) mkdirSync(dirname(target), { recursive: true, mode: 0o700 })
      made.add(dirname(target))
      writeFileSync(target, content, { mode: 0o600 })
    }
    writeFileSync(join(draft, lockName), '', { mode: 0o600 })
    renameSync(draft, program)
  } catch (cause) {
    rmSync(draft, { recursive: true, force: true })
    throw new VarveError(
      'WRITE_FAILED',
      `the page server's program cannot be copied to ${program}: ${(cause as Error).message}`,
      { remedy: 'make room there (some 4 MB), or set $VARVE_RUNTIME_DIR', cause },
    )
  }
  return join(program, scriptFolder)
}

/** Removes copies from which no process runs. The caller holds `programsLock`. */
export function removeUnusedPrograms(programs: string): void {
  for (const entry of readdirSync(programs, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const program = join(programs, entry.name)
    if (isUnused(program)) rmSync(program, { recursive: true, force: true })
  }
}

function isUnused(program: string): boolean {
  let fd: number
  const path = join(program, lockName)
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW)
  } catch (error) {
    // A draft whose writer was killed.
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
  try {
    return lockDescriptor(fd, path)
  } finally {
    closeSync(fd)
  }
}

let held: number | undefined

/**
 * Locks the copy that this process runs from, until it ends; does nothing if it runs from the package itself.
 */
export function holdOwnProgram(): void {
  const path = join(packageRoot, lockName)
  if (!existsSync(path)) return
  held = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW)
  flockShared(held, path)
}

/** The last step of a process: removes its copy, and other copies from which no process runs. */
export function leaveOwnProgram(): void {
  if (held === undefined) return
  closeSync(held)
  held = undefined
  const programs = dirname(packageRoot.replace(/\/$/, ''))
  try {
    const path = programsLock(programs)
    const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW)
    // A process is starting a server now, and removes unused copies afterwards.
    if (lockDescriptor(fd, path)) removeUnusedPrograms(programs)
  } catch (error) {
    // The runtime directory was removed.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

function programFiles(): [path: string, content: Buffer][] {
  const files = new Map([['package.json', readFileSync(join(packageRoot, 'package.json'))]])
  for (const script of scripts) {
    const path = join(scriptFolder, script)
    files.set(path, readFileSync(join(packageRoot, path)))
  }
  const koffi = dirname(fileURLToPath(import.meta.resolve('koffi')))
  addFolder(files, koffi, 'node_modules/koffi')
  const natives = join(koffi, '../@koromix')
  for (const name of existsSync(natives) ? readdirSync(natives) : [])
    if (name.startsWith('koffi-')) addFolder(files, join(natives, name), `node_modules/@koromix/${name}`)
  return [...files].sort(([a], [b]) => (a < b ? -1 : 1))
}

function addFolder(files: Map<string, Buffer>, from: string, to: string): void {
  for (const name of readdirSync(from, { recursive: true, encoding: 'utf8' }))
    if (neededOfKoffi.test(name)) files.set(join(to, name), readFileSync(join(from, name)))
}
