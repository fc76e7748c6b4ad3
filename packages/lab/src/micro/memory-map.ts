import { type FirecrackerVersion, pageSizeBytes } from 'varve'

/**
 * Where the micro guest lives. Everything is in one area from 1 MiB on, which is below the first page that
 * commands may touch, so that a test knows every page the guest itself can change. Numbers are pages: the
 * area lies in the first region, where a guest frame number is also the page number in the memory file.
 */
export const microMemoryMap = {
  /**
   * Code, constants and interrupt table, from 1 MiB: the lowest address at which Firecracker loads a kernel.
   */
  code: { start: 256, count: 2 },
  /** Variables. */
  data: { start: 258, count: 1 },
  /** The command line as received. */
  line: { start: 259, count: 1 },
  /** The numbers of a command line, parsed. */
  numbers: { start: 260, count: 1 },
  stack: { start: 261, count: 1 },
  /** Root table, second-level table and one third-level table per GiB of addresses, written at boot only. */
  pageTables: { start: 262, count: 2 + 64 },
} as const

/** Pages below this one are the guest's own or Firecracker's; commands refuse them. 2 MiB. */
export const firstUsablePage = 512

/** Guest addresses from here on are not mapped by the guest's page tables: its table area ends. */
export const microMaxAddressBytes = 64 * 2 ** 30

/** What one third-level table maps. */
const bytesPerTable = 2 ** 30

/** `count` pages from page `start` on. */
export interface OwnPages {
  readonly start: number
  readonly count: number
}

/**
 * Pages that the guest itself may write or read, in a guest whose highest address is `topAddressBytes`.
 * All else that it touches was named in a command, but for two of Firecracker's boot pages that are only
 * read: the boot parameters (page 7) once at boot, the segment table (page 0) by the processor when an
 * interrupt ends. A Diff may hold each of the own pages but code: page tables too, where the processor
 * walks them under nested paging.
 */
export function microGuestOwnPages(topAddressBytes: number): OwnPages {
  const { code, pageTables } = microMemoryMap
  const tables = 2 + Math.min(Math.ceil(topAddressBytes / bytesPerTable), pageTables.count - 2)
  return { start: code.start, count: pageTables.start + tables - code.start }
}

/**
 * Pages that Firecracker writes before the guest's first instruction on x86_64, measured from the Diff of a
 * fresh VM without devices: docs/guides/micro-guest.md says what each holds. From 1.14 on VMClock's page is
 * one of them.
 */
export function firecrackerBootPages(version: FirecrackerVersion): readonly number[] {
  const hasVmClock = version.major > 1 || version.minor >= 14
  return [0, 7, 9, 10, 11, 32, 159, 160, ...(hasVmClock ? [vmClockPage] : []), vmGenIdPage, 224]
}

/** Where a machine without devices has them. */
export const vmGenIdPage = 223
export const vmClockPage = 222

/**
 * Pages that Firecracker writes on x86_64 while it loads a snapshot of a machine without devices: from 1.8
 * on, and from 1.14 on.
 */
export function firecrackerLoadPages(version: FirecrackerVersion): readonly number[] {
  return firecrackerBootPages(version).filter((page) => page === vmGenIdPage || page === vmClockPage)
}

export const addressOfPage = (page: number): number => page * pageSizeBytes
