import { closeSync, constants, openSync, readdirSync, readSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { notFound, pathError, VarveError } from 'varve'
import { type Layer, readLayer } from 'varve/layers'
import {
  inspectMemoryFile,
  inspectStateFile,
  isStateFile,
  type MemoryFileReport,
  type StateFileReport,
} from 'varve/state-files'

export interface InspectReport {
  readonly path: string
  readonly layer: Layer | undefined
  readonly state: StateFileReport | undefined
  readonly memory: MemoryFileReport | undefined
  /** What could not be looked at, and why. */
  readonly notes: readonly string[]
}

export interface InspectOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (scannedBytes: number) => void
}

const pageSizeBytes = 4096
/** A snapshot's directory holds a handful of files; this keeps `varve inspect /proc` short. */
const maxEntries = 1000

/**
 * FILE is a state file or a layer (told by their magic) or else a memory file; DIR holds a state file and
 * perhaps its memory file.
 */
export async function inspectReport(path: string, options: InspectOptions = {}): Promise<InspectReport> {
  const stat = statOf(path)
  if (stat.isDirectory()) return inspectDirectory(path, options)
  const nothing = { path, layer: undefined, state: undefined, memory: undefined, notes: [] }
  if (isLayer(path, stat.size)) return { ...nothing, layer: await readLayer(path, options) }
  // A file that is neither is most likely a damaged state file: its reader says best what is wrong.
  if ((await isStateFile(path)) || stat.size === 0 || stat.size % pageSizeBytes !== 0)
    return { ...nothing, state: await inspectStateFile(path) }
  return { ...nothing, memory: await inspectMemoryFile(path, [], options) }
}

/**
 * The state file of a snapshot's directory (or the given state file), and the memory file if it can be found.
 */
export async function snapshotFiles(
  path: string,
): Promise<{ readonly statePath: string; readonly memoryPath: string | undefined }> {
  if (!statOf(path).isDirectory()) return { statePath: path, memoryPath: undefined }
  const files = regularFiles(path)
  const statePath = await findState(path, files)
  let state: StateFileReport
  try {
    state = await inspectStateFile(statePath)
  } catch {
    // The check of the state file says what is wrong with it.
    return { statePath, memoryPath: undefined }
  }
  return { statePath, memoryPath: findMemory(path, files, state, []) }
}

async function inspectDirectory(directory: string, options: InspectOptions): Promise<InspectReport> {
  const files = regularFiles(directory)
  const state = await inspectStateFile(await findState(directory, files))
  const notes: string[] = []
  const memoryPath = findMemory(directory, files, state, notes)
  return {
    path: directory,
    layer: undefined,
    state,
    memory:
      memoryPath === undefined ? undefined : await inspectMemoryFile(memoryPath, state.regions, options),
    notes,
  }
}

/** A layer ends in a trailer of 128 bytes that begins with its magic (docs/formats/layer-v1.md). */
function isLayer(path: string, sizeBytes: number): boolean {
  if (sizeBytes < 128 || !statOf(path).isFile()) return false
  let fd: number | undefined
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const magic = Buffer.alloc(8)
    readSync(fd, magic, 0, magic.length, sizeBytes - 128)
    return magic.toString('latin1') === 'VARVELYR'
  } catch (cause) {
    throw pathError(cause, `cannot read ${path}: ${(cause as Error).message}`, { details: { path } })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/**
 * Links are followed. NOT_FOUND, PATH_INVALID (a name that is too long, links in a circle, no permission).
 */
function statOf(path: string): Stats {
  try {
    return statSync(path)
  } catch (cause) {
    throw pathError(cause, `cannot look at ${shortened(path)}: ${reasonOf(cause)}`, { details: { path } })
  }
}

/** Very long names are cut: they do not help a reader. */
const shortened = (path: string): string => (path.length <= 300 ? path : `${path.slice(0, 300)}…`)

/** Node's message has the path in it again. */
const reasonOf = (cause: unknown): string => (cause as Error).message.split(', ')[0] ?? ''

/** Files that cannot be examined are not the snapshot's. */
function isRegularFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function regularFiles(directory: string): string[] {
  const entries = list(directory)
  if (entries.length > maxEntries)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${directory} has ${entries.length} entries, not a snapshot's directory`,
      {
        remedy: 'name the state file',
      },
    )
  return entries.filter((name) => isRegularFile(join(directory, name))).sort()
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (cause) {
    throw pathError(cause, `cannot list ${directory}: ${(cause as Error).message}`, {
      details: { path: directory },
    })
  }
}

async function findState(directory: string, files: readonly string[]): Promise<string> {
  if (files.includes('state')) return join(directory, 'state')
  const found: string[] = []
  for (const name of files) if (await isStateFile(join(directory, name))) found.push(name)
  if (found.length === 1) return join(directory, found[0] as string)
  throw found.length === 0
    ? notFound('file', `${directory} holds no Firecracker state file`)
    : new VarveError('INVALID_ARGUMENT', `${directory} holds several state files: ${found.join(', ')}`, {
        remedy: 'name one of them',
      })
}

function findMemory(
  directory: string,
  files: readonly string[],
  state: StateFileReport,
  notes: string[],
): string | undefined {
  if (files.includes('memory')) return join(directory, 'memory')
  const fitting = files.filter((name) => statOf(join(directory, name)).size === state.memoryFileBytes)
  if (fitting.length === 1) return join(directory, fitting[0] as string)
  notes.push(
    fitting.length === 0
      ? `no memory file: no file here has the ${state.memoryFileBytes} bytes of the regions`
      : `no memory file chosen: several have the size of the regions (${fitting.join(', ')})`,
  )
  return undefined
}
