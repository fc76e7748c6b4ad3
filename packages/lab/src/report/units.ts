/** A measure for people; its unit is the end of its name. */
export function measureText(name: string, value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–'
  if (name.endsWith('Ms')) return msText(value)
  if (name.endsWith('Bytes')) return bytesText(value)
  // A share, say.
  if (!Number.isInteger(value) && Math.abs(value) < 10) return value.toFixed(2)
  return Math.round(value).toLocaleString('en-US')
}

export function msText(ms: number): string {
  if (Math.abs(ms) >= 10_000) return `${(ms / 1000).toFixed(1)} s`
  const digits = Math.abs(ms) < 10 ? 2 : Math.abs(ms) < 100 ? 1 : 0
  return `${ms.toFixed(digits)} ms`
}

export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`
  if (bytes < 2 ** 20) return `${(bytes / 1024).toFixed(0)} KiB`
  return bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`
}

export const ratioText = (ratio: number): string => `${ratio.toFixed(ratio < 10 ? 2 : 1)}×`

/** What the columns of tables are called; others are named by their measure. */
export const measureNames: Readonly<Record<string, string>> = {
  likeTheFirst: 'like the first (Jaccard)',
  restoredMs: 'restored',
  firstMs: 'first answer',
  totalMs: 'work done',
  workMs: 'the work alone',
  againMs: 'again, warm',
  minorFaults: 'minor faults',
  majorFaults: 'major faults',
  uffdFaults: 'uffd faults',
  readBytes: 'read by the VMM',
  deviceReadBytes: 'read from disk',
  setReadOnlyPages: 'set, read-only pages',
  setWrittenPages: 'set, written pages',
  prefetchedPages: 'prefetched pages',
  prefetchReadBytes: 'read for that',
  prefetchedUnusedPages: 'in vain, at least',
  prefetchedUnusedAtMostPages: 'in vain, at most',
  unusedPages: 'unused of set',
  missedPages: 'not in set',
  presentPages: 'present pages',
  writtenPages: 'written pages',
  stopMs: 'recorder stops',
  residentBytes: 'resident',
  proportionalBytes: 'proportional',
  privateBytes: 'private copies',
  fileBytes: 'of files',
}

export const measureName = (measure: string): string => measureNames[measure] ?? measure
