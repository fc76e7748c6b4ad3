import { pageSizeBytes } from 'varve'
import { brokenReport } from './broken-report.js'
import { maxKernelRanges, maxResourceBytes, maxResources } from './explain-limits.js'

/** Frames that a part of the kernel's image has. */
export interface KernelRange {
  /** "code", "rodata", "data" or "bss". */
  readonly name: string
  readonly frame: number
  readonly count: number
}

/** The parts of the kernel in /proc/iomem. A reader without rights sees zeros there: those are left out. */
export function readKernelRanges(iomem: Uint8Array): KernelRange[] {
  if (iomem.length > maxResourceBytes)
    throw brokenReport(`/proc/iomem of more than ${maxResourceBytes} bytes`)
  const lines = Buffer.from(iomem).toString('latin1').split('\n', maxResources)
  const ranges = lines.flatMap((line) => {
    const [, start, last, name] =
      /^ {2,8}([0-9a-f]{1,13})-([0-9a-f]{1,13}) : Kernel (code|rodata|data|bss)$/.exec(line) ?? []
    if (start === undefined || last === undefined || name === undefined) return []
    const frame = Math.floor(Number.parseInt(start, 16) / pageSizeBytes)
    const count = Math.floor(Number.parseInt(last, 16) / pageSizeBytes) - frame + 1
    return Number.parseInt(last, 16) === 0 || count < 1 ? [] : [{ name, frame, count }]
  })
  if (ranges.length > maxKernelRanges) throw brokenReport(`${ranges.length} parts of the kernel`)
  return ranges
}
