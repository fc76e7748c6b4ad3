import { VarveError } from '../../errors.js'
import type { MappedRegion } from '../../memory/mapped-region.js'
import { hugePageBytes, pageSizeBytes } from '../../memory/units.js'

/** A region takes about 110 bytes of JSON; Firecracker itself is limited to 32,764 KVM slots. */
export const maxHandshakeBytes = 8 * 1024 * 1024
export const maxRegions = 65_536
/** x86_64 user addresses end at 2^47. */
const maxAddress = 2 ** 47

/** Guest memory as Firecracker has it mapped. */
export interface ServedMemory {
  /** Sorted by address, without overlap. */
  readonly regions: readonly MappedRegion[]
  /** Whether the kernel takes memory in whole huge pages only. */
  readonly hugePages: boolean
}

/**
 * What a complete handshake says; undefined while the JSON array is not complete yet. Anything that can never
 * become valid is PAGE_SERVER_PROTOCOL.
 */
export function parseHandshake(bytes: Buffer, imagePages: number): ServedMemory | undefined {
  if (bytes.length > maxHandshakeBytes) throw broken(`exceeds ${maxHandshakeBytes} bytes`)
  if (bytes.length > 0 && bytes[0] !== 0x5b) throw broken('does not begin with "["')
  // Regions hold no nested arrays, so the first "]" ends the message.
  const end = bytes.indexOf(0x5d)
  if (end < 0) return undefined
  if (end !== bytes.length - 1) throw broken(`has ${bytes.length - 1 - end} bytes behind its end`)
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw broken(`is not JSON: ${(cause as Error).message}`)
  }
  const elements = value as unknown[]
  if (elements.length === 0 || elements.length > maxRegions) throw broken(`names ${elements.length} regions`)
  const unitBytes = pageSizeOf(elements[0])
  const regions = elements.map((element, index) => region(element, index, unitBytes, imagePages))
  return { regions: withoutOverlap(regions), hugePages: unitBytes === hugePageBytes }
}

/** Bytes under both names; the older one lies. */
function pageSizeOf(element: unknown): unknown {
  const it = element as { readonly page_size?: unknown; readonly page_size_kib?: unknown } | null
  return it?.page_size ?? it?.page_size_kib ?? pageSizeBytes
}

/** `unitBytes`: the page size that the first region has. */
function region(element: unknown, index: number, unitBytes: unknown, imagePages: number): MappedRegion {
  if (typeof element !== 'object' || element === null) throw broken(`region ${index} is not an object`)
  const it = element as Record<string, unknown>
  const field = (name: string, value: unknown, limit: number): number => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > limit)
      throw broken(`region ${index}: ${name} is ${JSON.stringify(value)}`)
    return value
  }
  const address = field('base_host_virt_addr', it.base_host_virt_addr, maxAddress)
  const size = field('size', it.size, maxAddress)
  const offset = field('offset', it.offset, Number.MAX_SAFE_INTEGER)
  const page = field('page_size', pageSizeOf(it), 2 ** 30)
  if (page !== pageSizeBytes && page !== hugePageBytes)
    throw broken(
      `region ${index} has pages of ${page} bytes; ${pageSizeBytes} and ${hugePageBytes} are served`,
    )
  if (page !== unitBytes) throw broken(`region ${index} has pages of ${page} bytes, the first ${unitBytes}`)
  for (const [name, value] of Object.entries({ address, size, offset }))
    if (value % page !== 0) throw broken(`region ${index}: ${name} ${value} is not a whole number of pages`)
  const result = { address, firstPage: offset / pageSizeBytes, pages: size / pageSizeBytes }
  if (address + size > maxAddress) throw broken(`region ${index} ends above ${maxAddress}`)
  if (result.pages === 0) throw broken(`region ${index} is empty`)
  if (result.firstPage + result.pages > imagePages)
    throw broken(
      `region ${index} ends at page ${result.firstPage + result.pages}, the image at ${imagePages}`,
    )
  return result
}

/** Sorted by address. */
export function withoutOverlap(regions: MappedRegion[]): MappedRegion[] {
  const check = (sorted: readonly MappedRegion[], startOf: (it: MappedRegion) => number, unit: number) => {
    for (let i = 1; i < sorted.length; i++) {
      const before = sorted[i - 1] as MappedRegion
      if (startOf(before) + before.pages * unit > startOf(sorted[i] as MappedRegion))
        throw broken('has overlapping regions')
    }
  }
  const byPage = [...regions].sort((a, b) => a.firstPage - b.firstPage)
  check(byPage, (it) => it.firstPage, 1)
  const byAddress = regions.sort((a, b) => a.address - b.address)
  check(byAddress, (it) => it.address, pageSizeBytes)
  return byAddress
}

function broken(detail: string): VarveError {
  return new VarveError('PAGE_SERVER_PROTOCOL', `handshake ${detail}`)
}
