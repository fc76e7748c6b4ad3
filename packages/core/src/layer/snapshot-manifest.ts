import { normalize } from 'node:path'
import { VarveError } from '../errors.js'
import { type PageSet, pageSetLimit } from '../memory/page-set.js'
import { pageSetFromJson, pageSetToJson } from '../memory/page-set-json.js'
import { checkLayer } from './layer.js'

/** docs/formats/snapshot-directory-v0.md. Provisional: the snapshot store replaces version 0. */
export interface SnapshotManifest {
  readonly id: string
  readonly kind: 'full' | 'diff'
  /** Path of the parent's directory, absolute or relative to this snapshot's. */
  readonly parent: string | null
  readonly parentId: string | null
  readonly createdAt: string
  readonly firecrackerVersion: string
  readonly memoryPages: number
  readonly data: PageSet
  readonly zero: PageSet
  readonly machine: Readonly<Record<string, unknown>>
}

export const manifestFormat = 'varve-snapshot-directory'
export const manifestVersion = 0

/** 16 GiB of guest whose every second page is data has 2 million runs, 36 MB of JSON. */
export const maxManifestBytes = 64 * 1024 * 1024
const maxMachineBytes = 1024 * 1024
const maxMachineDepth = 32
const maxPathBytes = 4096

export function manifestToJson(manifest: SnapshotManifest): string {
  const { data, zero, machine, ...rest } = manifest
  const value = {
    format: manifestFormat,
    version: manifestVersion,
    ...rest,
    pages: { data: pageSetToJson(data), zero: pageSetToJson(zero) },
    machine,
  }
  const text = `${JSON.stringify(value)}\n`
  // What is written must be readable again: same checks, same limits.
  manifestFromJson(text, 'the new snapshot manifest', 'INVALID_ARGUMENT')
  return text
}

/** Reads and checks a manifest that may hold anything. `what` names the file in messages. */
export function manifestFromJson(
  text: string,
  what: string,
  code: 'FORMAT_INVALID' | 'INVALID_ARGUMENT' = 'FORMAT_INVALID',
): SnapshotManifest {
  const fail = (detail: string, cause?: unknown): never => {
    throw new VarveError(code, `${what}: ${detail}`, cause === undefined ? {} : { cause })
  }
  if (Buffer.byteLength(text) > maxManifestBytes) fail(`more than ${maxManifestBytes} bytes`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    fail('not JSON', error)
  }
  const fields = asObject(value) ?? fail('not a JSON object')
  if (fields.format !== manifestFormat) fail(`format ${show(fields.format)} is not "${manifestFormat}"`)
  checkVersion(fields.version, what, fail)
  const { id, kind, parent, parentId, createdAt, firecrackerVersion, memoryPages, machine } = fields
  if (!isId(id)) return fail(`id ${show(id)} is not 32 hexadecimal digits`)
  if (kind !== 'full' && kind !== 'diff') return fail(`kind ${show(kind)} is not "full" or "diff"`)
  if (parent !== null && !isParentPath(parent)) return fail(`parent ${show(parent)} is not a normalised path`)
  if (parentId !== null && !isId(parentId))
    return fail(`parentId ${show(parentId)} is not 32 hexadecimal digits`)
  if ((parent === null) !== (parentId === null)) fail('parent and parentId must both be null, or neither')
  if (kind === 'full' && parent !== null) fail('a full snapshot has no parent')
  if (!isTime(createdAt)) return fail(`createdAt ${show(createdAt)} is not a time in UTC`)
  if (typeof firecrackerVersion !== 'string' || !/^[\x21-\x7e]{1,64}$/.test(firecrackerVersion))
    return fail(`firecrackerVersion ${show(firecrackerVersion)} is not 1 to 64 printable characters`)
  if (!isPageCount(memoryPages)) return fail(`memoryPages ${show(memoryPages)} is not within [1, 2^32 - 1]`)
  const machineObject = asObject(machine) ?? fail('machine is not an object')
  if (!isShallow(machineObject, maxMachineDepth)) fail(`machine is more than ${maxMachineDepth} levels deep`)
  if (Buffer.byteLength(JSON.stringify(machineObject)) > maxMachineBytes)
    fail(`machine is more than ${maxMachineBytes} bytes`)
  const pages = asObject(fields.pages) ?? fail('pages is not an object')
  const data = pageSetFromJson(pages.data, memoryPages, `${what}: pages.data`)
  const zero = pageSetFromJson(pages.zero, memoryPages, `${what}: pages.zero`)
  checkLayer({ memoryPath: what, pages: memoryPages, data, zero })
  if (kind === 'full' && data.pages + zero.pages !== memoryPages)
    fail(`a full snapshot names ${data.pages + zero.pages} of its ${memoryPages} pages`)
  return {
    id,
    kind,
    parent,
    parentId,
    createdAt,
    firecrackerVersion,
    memoryPages,
    data,
    zero,
    machine: machineObject,
  }
}

function checkVersion(version: unknown, what: string, fail: (detail: string) => never): void {
  if (version === manifestVersion) return
  if (typeof version === 'number' && Number.isInteger(version) && version > manifestVersion)
    throw new VarveError(
      'FORMAT_UNSUPPORTED',
      `${what}: version ${version}, this Varve knows ${manifestVersion} only`,
      { remedy: 'use a newer Varve' },
    )
  fail(`version ${show(version)} is not a version number`)
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)
}

function isTime(value: unknown): value is string {
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value)) return false
  return !Number.isNaN(Date.parse(value))
}

function isPageCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= pageSetLimit
}

/** Normalised, so that a reader need not resolve surprises: `a/../../b` and the like do not pass. */
function isParentPath(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value !== '' &&
    value !== '.' &&
    !value.includes('\0') &&
    !value.endsWith('/') &&
    Buffer.byteLength(value) <= maxPathBytes &&
    normalize(value) === value
  )
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}

/** Level by level, not by recursion: the depth is what the file says. */
function isShallow(value: object, levels: number): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === levels) return false
    level = level
      .flatMap((item) => Object.values(item as object))
      .filter((item) => typeof item === 'object' && item !== null)
  }
  return true
}

/** A value of unknown size, for a message. */
function show(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : typeof value
  return typeof value === 'number' || value === null ? String(value) : text
}
