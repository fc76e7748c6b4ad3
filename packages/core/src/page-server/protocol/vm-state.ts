import {
  closeSync,
  constants,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { VarveError } from '../../errors.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { framePages, pageSizeBytes } from '../../memory/units.js'
import { type ServedMemory, withoutOverlap } from './handshake.js'
import type { RemovalLog } from './removed-pages.js'

/**
 * What a successor must know of a VM in addition to its configuration. It is written before the server acts
 * on it, so that a process that finds it after the server's death knows at least as much as the VM does.
 */
interface VmState extends ServedMemory {
  /** A recording was on; `writes` of it. What it had found is lost with the server. */
  readonly recording: boolean | null
}

/** 65,536 regions take some 3 MiB. */
const maxStateBytes = 16 * 1024 * 1024
/** Of a state of single pages, and of huge pages: a server that cannot serve these must not take it over. */
const [ofPages, ofHugePages] = [1, 2]

export function writeVmState(path: string, { regions, hugePages, recording }: VmState): void {
  const draft = `${path}.new`
  const flat = regions.flatMap(({ address, firstPage, pages }) => [address, firstPage, pages])
  writeFileSync(
    draft,
    JSON.stringify({ version: hugePages ? ofHugePages : ofPages, regions: flat, recording }),
    { mode: 0o600 },
  )
  renameSync(draft, path)
}

/** Undefined if there is none: the VM had not handed over its memory. FORMAT_INVALID if it is not right. */
export function readVmState(path: string, imagePages: number): VmState | undefined {
  const size = statSync(path, { throwIfNoEntry: false })?.size
  if (size === undefined) return undefined
  const wrong = (what: string) => new VarveError('FORMAT_INVALID', `${path}: ${what}`)
  if (size > maxStateBytes) throw wrong(`${size} bytes`)
  let value: { version?: unknown; regions?: unknown; recording?: unknown } | null
  try {
    value = JSON.parse(readFileSync(path, 'utf8')) as typeof value
  } catch (error) {
    throw wrong((error as Error).message)
  }
  const { version, regions: flat, recording } = value ?? {}
  if (version !== ofPages && version !== ofHugePages) throw wrong(`version ${JSON.stringify(version)}`)
  if (recording !== null && typeof recording !== 'boolean') throw wrong('recording')
  if (
    !Array.isArray(flat) ||
    flat.length % 3 !== 0 ||
    !flat.every((it) => Number.isSafeInteger(it) && it >= 0)
  )
    throw wrong('regions')
  const numbers = flat as number[]
  const hugePages = version === ofHugePages
  const unitPages = hugePages ? framePages : 1
  const regions: MappedRegion[] = []
  for (let at = 0; at < numbers.length; at += 3) {
    const [address, firstPage, pages] = numbers.slice(at, at + 3) as [number, number, number]
    const whole = [address / pageSizeBytes, firstPage, pages].every((it) => it % unitPages === 0)
    if (!whole || pages === 0 || firstPage + pages > imagePages) throw wrong(`region ${at / 3}`)
    regions.push({ address, firstPage, pages })
  }
  return { regions: withoutOverlap(regions), hugePages, recording }
}

const fileFlags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW

/** The first byte says whether a removal is under way; the bits begin here. */
const bitsOffset = 8

/** Keeps removed pages in a file, bit for bit. */
export function removalLog(path: string, statePath: string): RemovalLog & { close(): void } {
  let fd: number | undefined
  const write = (bytes: Uint8Array, from: number, end: number, position: number) => {
    try {
      fd ??= openSync(path, fileFlags, 0o600)
      for (let at = from; at < end; ) at += writeSync(fd, bytes, at, end - at, position + at - from)
    } catch {
      // No space, say. The VM can be served on; who does not know what was removed must not take it over.
      rmSync(statePath, { force: true })
    }
  }
  return {
    underWay: (is) => write(Uint8Array.of(is ? 1 : 0), 0, 1, 0),
    keep: (bits, firstByte, endByte) => write(bits, firstByte, endByte, bitsOffset + firstByte),
    close: () => {
      if (fd !== undefined) closeSync(fd)
    },
  }
}

/**
 * What was kept; undefined if nothing was removed. PAGE_SERVER_DIED if the server died between the reading of
 * a removal and its note: the guest may rely on zeros that no process knows of.
 */
export function readRemovedPages(path: string, imagePages: number): Uint8Array | undefined {
  const size = statSync(path, { throwIfNoEntry: false })?.size
  if (size === undefined) return undefined
  if (size > bitsOffset + Math.ceil(imagePages / 8))
    throw new VarveError('FORMAT_INVALID', `${path} has ${size} bytes for ${imagePages} pages`)
  const bytes = readFileSync(path)
  if (bytes[0] !== 0) throw new VarveError('PAGE_SERVER_DIED', 'the guest was giving memory back')
  return bytes.length > bitsOffset ? bytes.subarray(bitsOffset) : undefined
}
