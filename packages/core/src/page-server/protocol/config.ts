import { readFileSync, statSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import { type ExtentMap, maxLayers } from '../../layer/extent-map.js'
import { type ExtentMapJson, extentMapFromJson, extentMapToJson } from '../../layer/extent-map-json.js'
import { imagePagesLimit } from '../../layer/layer-index.js'
import { type FrozenSource, frozenPagesOf } from '../../memory/frozen-source.js'
import { pageSizeBytes } from '../../memory/units.js'
import { maxCpus } from '../../sys/affinity.js'
import type { ProcessIdentity } from '../../sys/proc.js'

/** What one page server serves; written and explained in docs/formats/page-server-protocol.md. */
export interface PageServerConfig {
  readonly vmm: ProcessIdentity
  /** The VM's directory, where the guard writes why it killed the VM. */
  readonly directory: string
  readonly socketPath: string
  /** Who may connect, if Firecracker runs as another user. */
  readonly socketOwner: { readonly uid: number; readonly gid: number } | null
  readonly controlPath: string
  readonly layers: readonly { readonly path: string; readonly pages: number }[]
  /** Where the map says `layers.length`, pages come from `frozen`. */
  readonly map: ExtentMap
  /** Memory that pages come from until there is a layer of it; null: all come from layers. */
  readonly frozen: FrozenSource | null
  readonly randomAccess: boolean
  /** A working-set file whose pages the server installs before the guest asks for them. */
  readonly workingSetPath: string | null
  /** Bring everything else alongside the guest, then leave the VM, which needs the server no more. */
  readonly graduate: boolean
  /** The CPU on which its faults are answered; null: any. */
  readonly faultCpu: number | null
}

const format = 'varve-page-server'
/** An extent map of 4 M runs (16 GiB of single pages) is about 64 MiB of JSON. */
const maxConfigBytes = 512 * 1024 * 1024
/** A Firecracker has two or three. */
const maxFrozenRegions = 64
/** Of a configuration without frozen memory, and of one with it. */
const [layersOnly, withFrozen] = [2, 3]

export function pageServerConfigToJson({ map, workingSetPath, frozen, ...config }: PageServerConfig): string {
  return JSON.stringify({
    format,
    version: frozen === null ? layersOnly : withFrozen,
    ...config,
    map: extentMapToJson(map),
    ...(frozen === null ? {} : { frozen }),
    prefetch: workingSetPath,
  })
}

export function readPageServerConfig(path: string): PageServerConfig {
  const { size } = statSync(path)
  if (size > maxConfigBytes) throw invalid(`${path} has ${size} bytes, more than ${maxConfigBytes}`)
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw invalid(`${path}: ${(cause as Error).message}`)
  }
  return pageServerConfig(value)
}

export function pageServerConfig(value: unknown): PageServerConfig {
  const it = object(value, 'configuration')
  if (it.format !== format) throw invalid(`format is ${JSON.stringify(it.format)}, not "${format}"`)
  if (it.version !== layersOnly && it.version !== withFrozen)
    throw new VarveError(
      'FORMAT_UNSUPPORTED',
      `page-server configuration version ${JSON.stringify(it.version)} is neither ${layersOnly} nor ${withFrozen}`,
    )
  const vmm = object(it.vmm, 'vmm')
  if (!Array.isArray(it.layers) || it.layers.length > maxLayers)
    throw invalid(`layers is not a list of at most ${maxLayers}`)
  const layers = it.layers.map((entry) => {
    const layer = object(entry, 'layer')
    // None: the guest wrote nothing since the parent.
    return { path: text(layer.path, 'layer path'), pages: whole(layer.pages, 'layer pages', 0, 2 ** 32 - 1) }
  })
  const frozen = it.version === withFrozen ? frozenSource(it.frozen) : null
  const owner = it.socketOwner === null ? null : object(it.socketOwner, 'socketOwner')
  if (typeof it.randomAccess !== 'boolean') throw invalid('randomAccess is not true or false')
  if (typeof it.graduate !== 'boolean') throw invalid('graduate is not true or false')
  if (frozen !== null && (it.graduate || it.prefetch !== null))
    throw invalid('frozen memory goes with neither graduate nor prefetch')
  return {
    vmm: processOf(vmm, 'vmm'),
    directory: text(it.directory, 'directory'),
    socketPath: text(it.socketPath, 'socketPath'),
    socketOwner: owner && {
      uid: whole(owner.uid, 'uid', 0, 2 ** 32 - 1),
      gid: whole(owner.gid, 'gid', 0, 2 ** 32 - 1),
    },
    controlPath: text(it.controlPath, 'controlPath'),
    layers,
    map: extentMapFromJson(it.map as ExtentMapJson, [
      ...layers.map(({ pages }) => pages),
      ...(frozen === null ? [] : [frozenPagesOf(frozen)]),
    ]),
    frozen,
    randomAccess: it.randomAccess,
    workingSetPath: it.prefetch === null ? null : text(it.prefetch, 'prefetch'),
    graduate: it.graduate,
    faultCpu: it.faultCpu === null ? null : whole(it.faultCpu, 'faultCpu', 0, maxCpus - 1),
  }
}

function frozenSource(value: unknown): FrozenSource {
  const it = object(value, 'frozen')
  if (!Array.isArray(it.regions) || it.regions.length === 0 || it.regions.length > maxFrozenRegions)
    throw invalid(`frozen.regions is not a list of 1 to ${maxFrozenRegions}`)
  let next = 0
  const regions = it.regions.map((entry) => {
    const region = object(entry, 'frozen region')
    const pages = whole(region.pages, 'frozen pages', 1, imagePagesLimit - next)
    const firstPage = whole(region.firstPage, 'frozen firstPage', next, next)
    next += pages
    const last = 2 ** 47 - pages * pageSizeBytes
    const address = whole(region.address, 'frozen address', pageSizeBytes, last)
    if (address % pageSizeBytes !== 0) throw invalid(`frozen address ${address} is not that of a page`)
    return { address, firstPage, pages }
  })
  return { process: processOf(object(it.process, 'frozen.process'), 'frozen.process'), regions }
}

const processOf = (it: Record<string, unknown>, what: string): ProcessIdentity => ({
  pid: whole(it.pid, `${what}.pid`, 2, 2 ** 31),
  startTime: whole(it.startTime, `${what}.startTime`, 0, Number.MAX_SAFE_INTEGER),
})

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`${what} is not an object`)
  return value as Record<string, unknown>
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value.includes('\0'))
    throw invalid(`${what} is not a path`)
  return value
}

function whole(value: unknown, what: string, low: number, high: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high)
    throw invalid(`${what} is ${JSON.stringify(value)}, not a whole number from ${low} to ${high}`)
  return value
}

function invalid(detail: string): VarveError {
  return new VarveError('FORMAT_INVALID', `page-server configuration: ${detail}`)
}
