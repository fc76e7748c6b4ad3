import {
  intersect,
  minus,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesOf,
  union,
} from 'varve/working-sets'
import { microGuestOwnPages, vmClockPage, vmGenIdPage } from './memory-map.js'

/**
 * Pages that Firecracker itself rewrites while it loads a snapshot, by guest page. On x86_64 it puts the
 * VMGenID at 0xDF000 (from 1.8), and from 1.14 the VMClock at 0xDE000.
 */
export const rewrittenOnLoad = { VMGenID: vmGenIdPage, VMClock: vmClockPage } as const

const rewritten = pageSetFromPages(Object.values(rewrittenOnLoad))

/** Divides differing pages into those with a name and the rest, which nothing explains. */
export function divideByName(
  differing: PageSet,
  memoryMib: number,
): { readonly vmm: number[]; readonly guestOwn: PageSet; readonly unexplained: PageSet } {
  const own = pageSetFromRuns([microGuestOwnPages(memoryMib * 2 ** 20)])
  return {
    vmm: [...pagesOf(intersect(differing, rewritten))],
    guestOwn: intersect(differing, own),
    unexplained: minus(differing, union(own, rewritten)),
  }
}
